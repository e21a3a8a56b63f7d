using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;
using Xunit;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>What an interrupt or exception left on its handler's stack.</summary>
/// <param name="Vector">The vector, by the handler that ran.</param>
/// <param name="Error">The error code; zero where the vector has none.</param>
/// <param name="Rip">The return address.</param>
internal readonly record struct Trap(int Vector, uint Error, ulong Rip);

/// <summary>
/// A machine of 4 MiB with its own descriptor tables, a TSS and 4 KiB pages for the first 2 MiB, in which every interrupt
/// vector leads to a HLT of its own: a program ends by HLT or by any event, and then state and stack tell which.
/// </summary>
internal abstract class SystemGuest : IDisposable
{
    public const ulong Start = 0x8000, Gdt = 0x1000, Idt = 0x2000, Tss = 0x3000, Ldt = 0x4000, SecondTss = 0x5000, Handlers = 0x50000, Routines = 0x60000,
        Stack = 0x20000, UserStack = 0x28000, InnerStack = 0x30000, IstStack = 0x38000, Tables = 0x300000, PageTable = Tables + 0x3000;

    public const ushort Code64 = 0x08, Data = 0x10, UserCode32 = 0x1B, UserData = 0x23, UserCode64 = 0x2B, Code32 = 0x30, TssSelector = 0x38, Free = 0x48,
        Code16 = 0x58, Data16 = 0x60, ExpandDown = 0x68, Short = 0x70, Absent = 0x78, Gate = 0x80, LdtSelector = 0x90, NextTask = 0xA0, TaskGate = 0xA8;

    private readonly MemoryRegion _ram = MemoryRegion.Allocate("ram", 0, 4 << 20);
    private readonly int _bitness;
    private readonly Dictionary<string, ulong> _labels = [];

    /// <param name="engine">How it is run.</param>
    /// <param name="translateAfter">When the translator begins.</param>
    /// <param name="codePart">Bytes of either part of a region of translated code.</param>
    /// <param name="bitness">16 for real mode, 32 for protected, 64 for long mode.</param>
    /// <param name="body">The program; the second argument names the next instruction.</param>
    /// <param name="vcpus">Processors.</param>
    /// <param name="user">Starts in ring 3.</param>
    /// <param name="nanosecondsPerInstruction">Counted time, if not zero.</param>
    protected SystemGuest(CpuEngine engine, int translateAfter, int codePart, int bitness, Action<Assembler, Action<string>> body, int vcpus, bool user, int nanosecondsPerInstruction)
    {
        _bitness = bitness;
        var memory = new GuestMemory();
        memory.Add(_ram);
        Bus = new SystemBus(memory);
        Clock = new VmClock(TimeProvider.System, nanosecondsPerInstruction);
        Partition = (SoftwarePartition)new SoftwareHypervisor { Engine = engine, TranslateAfter = translateAfter, CodePart = codePart }.CreatePartition(new PartitionOptions { Bus = Bus, Clock = Clock, VcpuCount = vcpus, CpuModel = CpuModel.Max });
        Place(Start, bitness, body);
        for (ulong vector = 0; vector < 256; vector++)
        {
            Bytes(Handlers + vector * 16, 0xF4);
            if (bitness == 16) Write(vector * 4, (uint)(Handlers >> 4 << 16 | vector * 16));
            else SetGate((int)vector, Handlers + vector * 16, vector is 3 or 4 or >= 0x80 ? 3 : 0);
        }

        State.Rip = Start;
        State.Gpr[4] = bitness == 16 ? 0x7000 : user ? UserStack : Stack;
        State.Segments[1] = SegmentState.RealMode(0) with { Attributes = 0x9B };
        if (bitness != 16) EnterProtected(user);
    }

    public VcpuState State { get; } = new();

    public SystemBus Bus { get; }

    public VmClock Clock { get; }

    public SoftwarePartition Partition { get; }

    public Vcpu Cpu => Partition.Processors[0];

    /// <summary>A general register, in encoding order.</summary>
    public ref ulong this[int register] => ref State.Gpr[register];

    /// <summary>The address of a named instruction.</summary>
    public ulong this[string label] => _labels[label];

    /// <summary>What handler the processor halted in, and what was pushed for it.</summary>
    public Trap Trap
    {
        get
        {
            var at = State.Rip + (_bitness == 16 ? State.Segments[1].Base : 0) - 1 - Handlers;
            Assert.True(at % 16 == 0 && at / 16 < 256, $"no handler at 0x{State.Rip:x}");
            var vector = (int)(at / 16);
            var top = State.Gpr[4] + (_bitness == 64 ? 0 : State.Segments[2].Base);
            if (_bitness == 16) return new Trap(vector, 0, Read<ushort>(top));
            var hasError = vector is 8 or 10 or 11 or 12 or 13 or 14 or 17;
            if (_bitness == 32) return new Trap(vector, hasError ? Read<uint>(top) : 0, Read<uint>(top + (hasError ? 4UL : 0)));
            return new Trap(vector, hasError ? Read<uint>(top) : 0, Read<ulong>(top + (hasError ? 8UL : 0)));
        }
    }

    public VcpuStop Run()
    {
        Cpu.SetState(State);
        var stop = Cpu.Run();
        Cpu.GetState(State);
        return stop;
    }

    /// <summary>Lets the next run start at an address, halted or not.</summary>
    public void GoTo(ulong rip) => (State.Rip, State.MpState) = (rip, MpState.Runnable);

    /// <summary>Runs to the HLT of an event's handler.</summary>
    public Trap RunToTrap()
    {
        var stop = Run();
        Assert.True(stop.Kind == VcpuStopKind.Halted, $"{stop} at 0x{State.Rip:x}, CR2 0x{State.Cr2:x}");
        return Trap;
    }

    /// <summary>Runs to the program's own HLT.</summary>
    public SystemGuest RunToEnd()
    {
        var stop = Run();
        Assert.True(stop.Kind == VcpuStopKind.Halted, $"{stop} at 0x{State.Rip:x}, CR2 0x{State.Cr2:x}");
        Assert.False(State.Rip - 1 >= Handlers && State.Rip - 1 < Handlers + 0x1000 && _bitness != 16, $"ended by an exception at 0x{State.Rip:x}");
        return this;
    }

    /// <summary>Runs the first processor from <see cref="State"/> and the second from another state, on a stack of its own, until both have halted.</summary>
    public void RunBoth(VcpuState second)
    {
        var cpu = Partition.Vcpus[1];
        var stack = second.Gpr[4];
        second.Gpr[4] = 0x18000;
        cpu.SetState(second);
        second.Gpr[4] = stack;
        var stop = default(VcpuStop);
        var thread = new Thread(() => stop = cpu.Run());
        thread.Start();
        RunToEnd();
        thread.Join();
        Assert.Equal(VcpuStopKind.Halted, stop.Kind);
    }

    /// <summary>Puts more code into memory, with a HLT behind it.</summary>
    public SystemGuest Place(ulong address, int bitness, Action<Assembler, Action<string>> body)
    {
        var a = new Assembler(bitness);
        var labels = new List<(string, Label)>();
        body(a, name =>
        {
            var label = a.CreateLabel();
            a.Label(ref label);
            labels.Add((name, label));
        });
        a.hlt();
        using var stream = new MemoryStream();
        var result = a.Assemble(new StreamCodeWriter(stream), address, BlockEncoderOptions.ReturnNewInstructionOffsets);
        Bytes(address, stream.ToArray());
        foreach (var (name, label) in labels) _labels[name] = result.GetLabelRIP(label);
        return this;
    }

    /// <summary>Gives a vector a handler with code in it.</summary>
    public SystemGuest Handle(int vector, Action<Assembler> body)
    {
        var address = Routines + (ulong)vector * 0x100;
        Place(address, _bitness, (a, _) => body(a));
        if (_bitness == 16) Write((ulong)vector * 4, (uint)(address >> 4 << 16));
        else SetGate(vector, address, 3);
        return this;
    }

    /// <summary>An interrupt gate.</summary>
    public void SetGate(int vector, ulong target, int dpl, int ist = 0, ushort? selector = null, int type = 0x8E)
    {
        var cs = selector ?? (_bitness == 64 ? Code64 : Code32);
        var low = (target & 0xFFFF) | (ulong)cs << 16 | (ulong)ist << 32 | (ulong)(type | dpl << 5) << 40 | (target >> 16 & 0xFFFF) << 48;
        if (_bitness == 64)
        {
            Write(Idt + (ulong)vector * 16, low);
            Write(Idt + (ulong)vector * 16 + 8, target >> 32);
        }
        else
        {
            Write(Idt + (ulong)vector * 8, low);
        }
    }

    /// <summary>A descriptor in the GDT.</summary>
    public void SetDescriptor(ushort selector, ulong address, uint limit, ushort attributes) => Write(Gdt + (selector & 0xFFF8u), Pack(address, limit, attributes));

    /// <summary>A call or task gate in the GDT.</summary>
    public void SetGateDescriptor(ushort at, ushort selector, ulong target, byte type, int parameters)
    {
        Write(Gdt + at, (target & 0xFFFF) | (ulong)selector << 16 | (ulong)parameters << 32 | (ulong)type << 40 | (target >> 16 & 0xFFFF) << 48);
        Write(Gdt + at + 8, target >> 32);
    }

    public static ulong Pack(ulong address, uint limit, ushort attributes)
    {
        if ((attributes & 0x8000) != 0) limit >>= 12;
        return (limit & 0xFFFF) | (address & 0xFFFFFF) << 16 | (ulong)(attributes & 0xFF) << 40 | (ulong)((limit >> 16 & 15) | (uint)(attributes & 0xF000) >> 8) << 48 | (address >> 24 & 0xFF) << 56;
    }

    /// <summary>The page-table entry of one of the first 512 pages.</summary>
    public static ulong Entry(ulong address) => PageTable + address / 4096 * 8;

    public SystemGuest SetPage(ulong address, ulong entry)
    {
        Write(Entry(address), entry);
        return this;
    }

    public void Write<T>(ulong address, T value) where T : unmanaged => Assert.True(Bus.Memory.TryWrite(address, value));

    public T Read<T>(ulong address) where T : unmanaged
    {
        Assert.True(Bus.Memory.TryRead(address, out T value));
        return value;
    }

    public void Bytes(ulong address, params byte[] bytes) => Assert.True(Bus.Memory.TryWrite(address, bytes));

    public void Dispose()
    {
        Partition.Dispose();
        Clock.Dispose();
        _ram.Dispose();
    }

    private void EnterProtected(bool user)
    {
        var isLong = _bitness == 64;
        SetDescriptor(Code64, 0, uint.MaxValue, 0xA09B);
        SetDescriptor(Data, 0, uint.MaxValue, 0xC093);
        SetDescriptor(UserCode32, 0, uint.MaxValue, 0xC0FB);
        SetDescriptor(UserData, 0, uint.MaxValue, 0xC0F3);
        SetDescriptor(UserCode64, 0, uint.MaxValue, 0xA0FB);
        SetDescriptor(Code32, 0, uint.MaxValue, 0xC09B);
        SetDescriptor(TssSelector, Tss, 0xFFF, 0x8B);
        SetDescriptor(Code16, 0, 0xFFFF, 0x009B);
        SetDescriptor(Data16, 0, 0xFFFF, 0x0093);
        SetDescriptor(ExpandDown, 0x10000, 0xFFF, 0x4097);
        SetDescriptor(Short, 0x10000, 0xFFF, 0x40F3);
        SetDescriptor(Absent, 0, uint.MaxValue, 0xC013);
        SetDescriptor(LdtSelector, Ldt, 0xFF, 0x82);
        Write<ulong>(Ldt + 8, Pack(0x11000, 0xFFF, 0x4093));
        State.Gdt = new DescriptorTable(Gdt, 0xFFF);
        State.Idt = new DescriptorTable(Idt, 0xFFF);
        State.Tr = new SegmentState(Tss, 0xFFF, TssSelector, 0x8B);
        State.Ldt = default;
        if (isLong)
        {
            Write(Tss + 4, InnerStack);
            Write(Tss + 36, IstStack);
        }
        else
        {
            Write(Tss + 4, (uint)InnerStack);
            Write(Tss + 8, (uint)Data);
        }

        // No I/O permission bitmap.
        Write<ushort>(Tss + 102, 0xFFFF);
        var data = SegmentState.Data32(user ? UserData : Data) with { Attributes = (ushort)(user ? 0xC0F3 : 0xC093) };
        State.Segments.AsSpan().Fill(data);
        var code = isLong ? SegmentState.Code64(user ? UserCode64 : Code64) : SegmentState.Code32(user ? UserCode32 : Code32);
        State.Segments[1] = user ? code with { Attributes = (ushort)(code.Attributes | 0x60) } : code;
        State.Cr0 = 0x80050033;
        State.Cr4 = 0x6F0;
        if (!isLong)
        {
            State.Cr0 = 0x00050033;
            return;
        }

        (State.Efer, State.Cr3) = (0xD01, Tables);
        Write(Tables, Tables + 0x1000 | 7);
        Write(Tables + 0x1000, Tables + 0x2000 | 7);
        Write(Tables + 0x2000, PageTable | 7);
        Write<ulong>(Tables + 0x2008, 0x200000 | 0x87);
        for (ulong page = 0; page < 512; page++) Write(PageTable + page * 8, page << 12 | 7);
    }
}
