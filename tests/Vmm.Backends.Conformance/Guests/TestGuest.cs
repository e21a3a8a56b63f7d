using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Guests;

/// <summary>
/// A partition with 2 MiB of RAM, tables, and a program. Every vector leads to a stub that writes the vector to a port, so a program ends by
/// the exit port or by any event, and the test sees which. It runs its vCPUs as a machine's run loop would, for any backend.
/// </summary>
public sealed class TestGuest : IDisposable
{
    /// <summary>Written by a program that is done.</summary>
    public const byte ExitPort = 0xE0;

    /// <summary>Written, with the vector, by the stubs.</summary>
    public const byte TrapPort = 0xE4;

    /// <summary>Written to have the host do something.</summary>
    public const byte SignalPort = 0xE8;

    private readonly MemoryRegion _ram = MemoryRegion.Allocate("ram", 0, GuestTables.RamSize);
    private readonly int _bitness;
    private bool _disposed;
    private readonly Dictionary<string, ulong> _labels = [];
    private readonly Processor[] _processors;
    private readonly ThreadLocal<Processor?> _current = new();

    internal TestGuest(BackendUnderTest backend, int bitness, Action<Assembler, Action<string>> body, bool user, int vcpus)
    {
        _bitness = bitness;
        Bus = new SystemBus(new GuestMemory());
        Memory.Add(_ram);
        Bus.Ports.Map(ExitPort, 4, new Port((value, _) => End(new GuestEnd(EndKind.Exit, value))));
        Bus.Ports.Map(TrapPort, 4, new Port((value, _) => End(new GuestEnd(EndKind.Trap, value))));
        Bus.Ports.Map(SignalPort, 4, new Port((value, _) => OnSignal?.Invoke(value)));
        Clock = new VmClock(TimeProvider.System);
        _processors = [.. Enumerable.Range(0, vcpus).Select(_ => new Processor())];
        Partition = backend.Create().CreatePartition(new PartitionOptions { Bus = Bus, Clock = Clock, VcpuCount = vcpus, CpuModel = backend.Model, Kicked = i => _processors[i].Wake.Set() });
        for (var i = 0; i < vcpus; i++) _processors[i].Vcpu = Partition.Vcpus[i];
        Place(GuestTables.Program, bitness, body);
        GuestTables.Write(Memory, State, bitness, user);
        for (var vector = 0; vector < 256; vector++) SetStub(vector);
        Clock.Resume();
    }

    /// <summary>The state that the first vCPU starts from, and after a run the one it has.</summary>
    public VcpuState State => _processors[0].State;

    public SystemBus Bus { get; }

    public GuestMemory Memory => Bus.Memory;

    public VmClock Clock { get; }

    public IPartition Partition { get; }

    /// <summary>The first vCPU.</summary>
    public IVcpu Vcpu => Partition.Vcpus[0];

    /// <summary>What the host does when the guest asks for it, with the value written; on the vCPU's thread, within the exit.</summary>
    public Action<uint>? OnSignal { get; set; }

    /// <summary>A general register of <see cref="State"/>, in encoding order.</summary>
    public ref ulong this[int register] => ref State.Gpr[register];

    /// <summary>The address of a named instruction.</summary>
    public ulong this[string label] => _labels[label];

    /// <summary>How long a run may take before it counts as hung.</summary>
    public static TimeSpan Patience { get; } = TimeSpan.FromSeconds(int.TryParse(Environment.GetEnvironmentVariable("VMM_TEST_PATIENCE"), out var n) ? n : 60);

    /// <summary>The state of a vCPU, as <see cref="State"/> is of the first.</summary>
    public VcpuState StateOf(int index) => _processors[index].State;

    /// <summary>Makes another vCPU ready to run at an address, in the mode of the first, on a stack of its own.</summary>
    public VcpuState Prepare(int index, ulong address)
    {
        var state = _processors[index].State;
        GuestTables.Write(Memory, state, _bitness, user: false);
        (state.Rip, state.Gpr[4], state.ApicBase) = (address, state.Gpr[4] - (ulong)index * 0x1000, 0xFEE00800);
        return state;
    }

    /// <summary>Sets the state, runs to the program's end, reads the state.</summary>
    public GuestEnd Run(int index = 0)
    {
        Partition.Vcpus[index].SetState(_processors[index].State);
        return Continue(index);
    }

    /// <summary>Goes on at an address with the state as it is now in the vCPU, what has come for it meanwhile included.</summary>
    public GuestEnd GoOnAt(int index, ulong address)
    {
        var state = _processors[index].State;
        Partition.Vcpus[index].GetState(state);
        state.Rip = address;
        return Run(index);
    }

    /// <summary>Goes on to the next end, and reads the state.</summary>
    public GuestEnd Continue(int index = 0)
    {
        var processor = _processors[index];
        var hung = 0;
        using var watchdog = new Timer(_ =>
        {
            Volatile.Write(ref hung, 1);
            processor.Vcpu.Kick();
        }, null, Patience, Timeout.InfiniteTimeSpan);
        _current.Value = processor;
        try
        {
            while (true)
            {
                processor.Wake.Reset();
                var stop = processor.Vcpu.Run();
                if (stop.Kind == VcpuStopKind.Halted)
                {
                    Interlocked.Increment(ref processor.Halts);
                    processor.Wake.Wait();
                }

                var end = stop.Kind switch
                {
                    VcpuStopKind.Shutdown => new GuestEnd(EndKind.Shutdown),
                    VcpuStopKind.Debug => new GuestEnd(EndKind.Debug),
                    VcpuStopKind.Failed => new GuestEnd(EndKind.Failed, 0, stop.Reason),
                    _ => processor.End,
                };
                processor.End = null;
                if (end is null && Volatile.Read(ref hung) == 0) continue;
                processor.Vcpu.GetState(processor.State);
                return end ?? throw new TimeoutException($"vCPU {index} hangs at 0x{processor.State.Rip:x}, RFLAGS 0x{processor.State.Rflags:x}, {processor.State.MpState}.");
            }
        }
        finally
        {
            _current.Value = null;
        }
    }

    /// <summary>Runs the first vCPU, whose state is set, until a kick that comes after a while; null unless the program ended first.</summary>
    public GuestEnd? RunUntilKick(int afterMilliseconds)
    {
        var stop = RunAWhile(afterMilliseconds, out var end);
        Assert.True(stop.Kind is VcpuStopKind.Kicked or VcpuStopKind.Halted, $"{stop}");
        return end;
    }

    /// <summary>Calls Run once on the first vCPU, whose state is set, and kicks it after a while.</summary>
    public VcpuStop RunAWhile(int milliseconds) => RunAWhile(milliseconds, out _);

    private VcpuStop RunAWhile(int milliseconds, out GuestEnd? end)
    {
        var processor = _processors[0];
        _current.Value = processor;
        using var timer = new Timer(_ => processor.Vcpu.Kick(), null, milliseconds, milliseconds);
        var stop = processor.Vcpu.Run();
        _current.Value = null;
        (end, processor.End) = (processor.End, null);
        return stop;
    }

    /// <summary>Makes another guest what this one is: memory, and the saved form of <see cref="State"/>.</summary>
    public void MoveTo(TestGuest other)
    {
        other.Write(0, Read(0, (int)GuestTables.RamSize));
        Vmm.Core.State.StateReader.Load("vcpu", Vmm.Core.State.StateWriter.Save(State), other.State);
        foreach (var (name, address) in _labels) other._labels[name] = address;
    }

    /// <summary>Runs the first vCPU, whose state is set, to its exit port: bytes allocated by the run itself.</summary>
    public long Measure()
    {
        var processor = _processors[0];
        _current.Value = processor;
        var before = GC.GetAllocatedBytesForCurrentThread();
        var stop = processor.Vcpu.Run();
        while (stop.Kind == VcpuStopKind.Kicked && processor.End is null) stop = processor.Vcpu.Run();
        var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        _current.Value = null;
        Assert.Equal(EndKind.Exit, processor.End?.Kind);
        processor.End = null;
        return allocated;
    }

    /// <summary>Runs a vCPU on a thread of its own.</summary>
    public Background<GuestEnd> Start(int index = 0) => new(() => Run(index));

    /// <summary>Runs to the exit port.</summary>
    public TestGuest RunToEnd()
    {
        ShouldEnd(new GuestEnd(EndKind.Exit), Run() with { Value = 0 });
        return this;
    }

    /// <summary>Runs to an event.</summary>
    public TestGuest RunToTrap(int vector)
    {
        ShouldEnd(GuestEnd.Trap(vector), Run());
        return this;
    }

    /// <summary>Says more than an equality would when a program ends otherwise than it should.</summary>
    public void ShouldEnd(GuestEnd expected, GuestEnd actual, int index = 0)
    {
        var state = _processors[index].State;
        Assert.True(expected == actual, $"ended by {actual} instead of {expected}, at 0x{state.Rip:x}, CR2 0x{state.Cr2:x}; stack {string.Join(' ', Enumerable.Range(0, 7).Select(i => $"{(Memory.TryRead(StackTop + (ulong)i * 8, out ulong v) ? v : 0):x}"))}");
    }

    /// <summary>What lies on the stack of an event's stub: the error code where the vector has one, return address, code segment, flags, and in long mode or after a change of ring stack pointer and segment.</summary>
    public ulong Frame(int word)
    {
        var size = (ulong)_bitness / 8;
        Span<byte> bytes = stackalloc byte[8];
        bytes.Clear();
        Assert.True(Memory.TryRead(StackTop + size * (ulong)(word + 1), bytes[..(int)size]));
        return BitConverter.ToUInt64(bytes);
    }

    /// <summary>Lets the next run start at an address, halted or not.</summary>
    public TestGuest GoTo(ulong rip)
    {
        (State.Rip, State.MpState) = (rip, MpState.Runnable);
        return this;
    }

    /// <summary>Puts code into memory, with the program's end behind it.</summary>
    public TestGuest Place(ulong address, int bitness, Action<Assembler, Action<string>> body)
    {
        var a = new Assembler(bitness);
        var labels = new List<(string, Label)>();
        body(a, name =>
        {
            var label = a.CreateLabel();
            a.Label(ref label);
            a.nop();
            labels.Add((name, label));
        });
        a.End();
        using var stream = new MemoryStream();
        var result = a.Assemble(new StreamCodeWriter(stream), address, BlockEncoderOptions.ReturnNewInstructionOffsets);
        Write(address, stream.ToArray());
        foreach (var (name, label) in labels) _labels[name] = result.GetLabelRIP(label);
        return this;
    }

    /// <summary>Puts code into memory, with the program's end behind it.</summary>
    public TestGuest Place(ulong address, Action<Assembler> body) => Place(address, _bitness, (a, _) => body(a));

    /// <summary>Gives a vector a handler of the test's own.</summary>
    public TestGuest Handle(int vector, Action<Assembler> body, int dpl = 3, int ist = 0)
    {
        var address = GuestTables.Routines + (ulong)vector * 0x100;
        Place(address, body);
        SetGate(vector, address, dpl, ist);
        return this;
    }

    /// <summary>An interrupt gate, or in real mode a vector.</summary>
    public void SetGate(int vector, ulong target, int dpl = 0, int ist = 0, byte type = 0x8E)
    {
        var selector = _bitness == 64 ? GuestTables.Code64 : GuestTables.Code32;
        var low = (target & 0xFFFF) | (ulong)selector << 16 | (ulong)ist << 32 | (ulong)(type | dpl << 5) << 40 | (target >> 16 & 0xFFFF) << 48;
        if (_bitness == 16) Write((ulong)vector * 4, (uint)(target >> 4 << 16 | target & 15));
        else if (_bitness == 32) Write(GuestTables.Idt + (ulong)vector * 8, low);
        else Write(GuestTables.Idt + (ulong)vector * 16, low);
    }

    /// <summary>Sets the page-table entry of one of the first 512 pages.</summary>
    public TestGuest SetPage(ulong address, ulong entry)
    {
        Write(GuestTables.Entry(address), entry);
        return this;
    }

    /// <summary>A recorder at some ports.</summary>
    public Recorder Ports(ushort first, uint count)
    {
        var recorder = new Recorder();
        Bus.Ports.Map(first, count, recorder);
        return recorder;
    }

    /// <summary>A recorder at guest-physical addresses.</summary>
    public Recorder Mmio(ulong first, ulong length)
    {
        var recorder = new Recorder();
        Bus.Mmio.Map(first, length, recorder);
        return recorder;
    }

    public void Write<T>(ulong address, T value) where T : unmanaged => Assert.True(Memory.TryWrite(address, value));

    public void Write(ulong address, byte[] bytes) => Assert.True(Memory.TryWrite(address, bytes));

    public T Read<T>(ulong address) where T : unmanaged
    {
        Assert.True(Memory.TryRead(address, out T value));
        return value;
    }

    public byte[] Read(ulong address, int count)
    {
        var bytes = new byte[count];
        Assert.True(Memory.TryRead(address, bytes));
        return bytes;
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        Clock.Dispose();
        Partition.Dispose();
        foreach (var region in Memory.Regions) region.Dispose();
        foreach (var processor in _processors) processor.Wake.Dispose();
        _current.Dispose();
    }

    // A HLT returns from Run on some backends and waits inside on others; this is how often it has returned.
    internal int HaltsOf(int index) => Volatile.Read(ref _processors[index].Halts);

    private ulong StackTop => State.Gpr[4] + (_bitness == 64 ? 0 : State.Segments[2].Base);

    private void End(GuestEnd end)
    {
        var processor = _current.Value ?? throw new InvalidOperationException("An exit was served on another thread than the vCPU's.");
        processor.End = end;
        processor.Vcpu.Kick();
    }

    private void SetStub(int vector)
    {
        var address = GuestTables.Stubs + (ulong)vector * 16;
        var a = new Assembler(_bitness);
        if (_bitness == 64) a.push(rax);
        else if (_bitness == 32) a.push(eax);
        else a.push(ax);
        a.mov(al, (byte)vector);
        a.@out(TrapPort, al);
        a.Spin();
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), address);
        Write(address, stream.ToArray());
        SetGate(vector, address, vector is 3 or 4 or >= 0x80 ? 3 : 0);
    }

    private sealed class Processor
    {
        public readonly ManualResetEventSlim Wake = new();
        public readonly VcpuState State = new();
        public IVcpu Vcpu = null!;
        public GuestEnd? End;
        public int Halts;
    }

    private sealed class Port(Action<uint, int> written) : IIoHandler
    {
        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value) => written((uint)value, size);
    }
}
