using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Interpret;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;
using Vmm.TestSupport.Oracle;

namespace Vmm.Backends.Software.Tests.Oracle;

/// <summary>
/// The software CPU in 64-bit user mode with the native oracle's areas at the same linear addresses; runs one instruction at a time
/// (the translator: a block of it and an end mark) without delivering its fault. The two data pages are swapped in physical memory, so that a page-crossing access must be split.
/// </summary>
internal sealed unsafe class InterpretedCpu : IDisposable
{
    private const ulong Tables = 0x1000, CodeFrame = 0x10_0000, DataFrame = 0x20_0000;
    private const int Page = 4096, RestartLimit = 1_000_000;

    private readonly ulong _code, _data;
    private readonly MemoryRegion _tables = MemoryRegion.Allocate("tables", 0, 0x8000);
    private readonly MemoryRegion _codePages = MemoryRegion.Allocate("code", CodeFrame, 2 * Page);
    private readonly MemoryRegion _dataPages = MemoryRegion.Allocate("data", DataFrame, 2 * Page);
    private readonly VmClock _clock;
    private readonly SoftwarePartition _partition;
    private readonly Vcpu _cpu;
    private readonly uint _mode;
    private ulong _lastPlace;
    private int _lastLength;
    private readonly sbyte[] _known = new sbyte[Enum.GetValues<Iced.Intel.Code>().Length];

    /// <param name="codeAddress">Where code goes.</param>
    /// <param name="dataAddress">Where data goes.</param>
    /// <param name="translate">Code is translated before its first run.</param>
    public InterpretedCpu(ulong codeAddress, ulong dataAddress, bool translate = false)
    {
        (_code, _data) = (codeAddress, dataAddress);

        // A run ends when its budget is used up, and translated code keeps to a budget in counted time only.
        _clock = new VmClock(TimeProvider.System, translate ? 1 : 0);
        var memory = new GuestMemory();
        memory.Add(_tables);
        memory.Add(_codePages);
        memory.Add(_dataPages);
        Map(codeAddress, CodeFrame, writable: false);
        Map(codeAddress + Page, CodeFrame + Page, writable: false);
        Map(dataAddress, DataFrame + Page, writable: true);
        Map(dataAddress + Page, DataFrame, writable: true);
        _partition = new SoftwarePartition(new PartitionOptions { Bus = new SystemBus(memory), Clock = _clock, CpuModel = CpuModel.Max }, translate ? CpuEngine.Translate : CpuEngine.Interpret, 0);
        _cpu = _partition.Processors[0];
        _cpu.SetState(UserMode());
        _mode = _cpu.S.Mode | CpuMode.Step;
    }

    /// <summary>Whether the engine knows the instruction at all.</summary>
    public bool Knows(in Iced.Intel.Instruction instruction)
    {
        var op = default(Op);
        OperandDecoder.Fill(instruction, _mode, ref op);
        return Software.Interpret.Binder.TryBind(instruction, _mode, ref op);
    }

    /// <summary>Whether the engine knows a form, with register operands or none.</summary>
    public bool Knows(Iced.Intel.Code code)
    {
        ref sbyte known = ref _known[(int)code];
        if (known == 0)
        {
            var instruction = default(Iced.Intel.Instruction);
            instruction.Code = code;
            var op = default(Op);
            known = (sbyte)(Binder.TryBind(instruction, _mode, ref op) ? 1 : -1);
        }

        return known > 0;
    }

    public void Run(OracleCase subject, Span<byte> data, out OracleState result)
    {
        if (_cpu.Translator is not null) PlaceWithEnd(subject.State.Rip, subject.Bytes);
        else Place(subject.State.Rip, subject.Bytes);
        Load(subject.State);
        LoadData(subject.Data);
        ref CpuState s = ref _cpu.S;
        int restarts = 0;
        do
        {
            s.Mode = _cpu.Translator is null ? _mode : _mode & ~CpuMode.Step;
            s.Budget = 0;
            RunBlock();
        }
        while (s.FaultVector < 0 && s.Rip == subject.State.Rip && ++restarts < RestartLimit);
        StoreData(data);
        result = StoreAtEnd(subject.State.Rip + (ulong)subject.Bytes.Length);
    }

    /// <summary>Runs a whole sequence in blocks, as a guest would: flags stay lazy from one instruction to the next.</summary>
    public void Run(OracleSequence subject, Span<byte> data, out OracleState result)
    {
        PlaceWithEnd(subject.State.Rip, subject.Bytes);
        Load(subject.State);
        LoadData(subject.Data);
        ref CpuState s = ref _cpu.S;
        for (int i = 0; i < RestartLimit && s.FaultVector < 0; i++)
        {
            s.Mode = _mode & ~CpuMode.Step;
            s.Budget = 10_000;
            RunBlock();
        }

        StoreData(data);
        result = StoreAtEnd(subject.State.Rip + (ulong)subject.Bytes.Length);
    }

    public void Dispose()
    {
        _partition.Dispose();
        _clock.Dispose();
        _tables.Dispose();
        _codePages.Dispose();
        _dataPages.Dispose();
    }

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "Lookup")]
    private static extern ref Op Lookup(Vcpu cpu);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "RunTranslated")]
    private static extern void RunTranslated(Vcpu cpu, Software.Translate.Executor executor);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "ServeInvalidations")]
    private static extern void ServeInvalidations(Vcpu cpu, bool waiting);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "Execute")]
    private static extern void Execute(Vcpu cpu, ref Op op);

    private static VcpuState UserMode()
    {
        var state = new VcpuState
        {
            Cr0 = 0x8005_0033,
            Cr3 = Tables,
            Cr4 = 0x0005_06A0,
            Efer = 0xD01,
            Xcr0 = 7,
            Rflags = 0x202,
            Tr = new SegmentState(0, 0x20, 0x40, 0x8B),
        };
        state.Segments.AsSpan().Clear();
        state.Segments[1] = new SegmentState(0, 0xFFFF_FFFF, 0x33, 0xA0FB);
        state.Segments[2] = new SegmentState(0, 0xFFFF_FFFF, 0x2B, 0xC0F3);
        return state;
    }

    private void Map(ulong linear, ulong frame, bool writable)
    {
        // SAFETY: the tables are the first pages of the region: one of each level, and a fourth-level one for each 2 MiB.
        ulong* table = (ulong*)(_tables.HostAddress + (nint)Tables);
        ulong next = Tables;
        foreach (int shift in (int[])[39, 30, 21])
        {
            ref ulong entry = ref table[(linear >> shift) & 511];
            if (entry == 0)
            {
                next = _nextTable += Page;
                entry = next | 7;
            }

            table = (ulong*)(_tables.HostAddress + (nint)(entry & ~0xFFFUL));
        }

        table[(linear >> 12) & 511] = frame | 5 | (writable ? 2UL : 0);
    }

    private ulong _nextTable = Tables;

    private void LoadData(ReadOnlySpan<byte> data)
    {
        // SAFETY: the region has two pages, and data is the oracle's area of as many.
        byte* frames = (byte*)_dataPages.HostAddress;
        data[..Page].CopyTo(new Span<byte>(frames + Page, Page));
        data[Page..].CopyTo(new Span<byte>(frames, Page));
    }

    private void StoreData(Span<byte> data)
    {
        // SAFETY: as for LoadData.
        byte* frames = (byte*)_dataPages.HostAddress;
        new Span<byte>(frames + Page, Page).CopyTo(data);
        new Span<byte>(frames, Page).CopyTo(data[Page..]);
    }

    private void Place(ulong rip, ReadOnlySpan<byte> bytes)
    {
        // SAFETY: the copy is bounded by the two code pages, and so is what it replaces.
        byte* code = (byte*)_codePages.HostAddress;
        new Span<byte>(code + _lastPlace, _lastLength).Fill(0xCC);
        _lastPlace = rip - _code;
        _lastLength = bytes.Length;
        bytes.CopyTo(new Span<byte>(code + _lastPlace, 2 * Page - (int)_lastPlace));
        _partition.DropCode(_cpu, _codePages, CodeFrame, ulong.MaxValue, release: false);
        _partition.DropCode(_cpu, _codePages, CodeFrame + Page, ulong.MaxValue, release: false);
    }

    // UD2 ends a run; nothing else in a sequence is at its address.
    private void PlaceWithEnd(ulong rip, ReadOnlySpan<byte> bytes)
    {
        Span<byte> code = stackalloc byte[bytes.Length + 2];
        bytes.CopyTo(code);
        code[^2] = 0x0F;
        code[^1] = 0x0B;
        Place(rip, code);
    }

    private void RunBlock()
    {
        if (_cpu.Executor is { } executor)
        {
            if ((_cpu.S.Events & Vcpu.EventInvalidate) != 0)
            {
                // A region of code is full.
                _cpu.S.Events &= ~Vcpu.EventInvalidate;
                ServeInvalidations(_cpu, false);
            }

            RunTranslated(_cpu, executor);
            return;
        }

        ref Op op = ref Lookup(_cpu);
        if (!Unsafe.IsNullRef(ref op)) Execute(_cpu, ref op);
    }

    private void Load(in OracleState from)
    {
        ref CpuState s = ref _cpu.S;
        for (int i = 0; i < 16; i++)
        {
            s.Gpr[i] = from.Gpr[i];
            s.Ymm[i] = from.Fpu.Ymm(i).AsUInt64();
        }

        s.Rip = from.Rip;
        s.SystemFlags = (from.Rflags & ~Flags.Arithmetic) | 2;
        s.SetArithmetic(from.Rflags);
        s.FaultVector = -1;
        s.FaultError = 0;
        s.Cr2 = 0;
        s.Events = 0;
        s.Mxcsr = from.Fpu.Mxcsr;
        s.X87.Control = from.Fpu.Fcw;
        s.X87.Top = (byte)((from.Fpu.Fsw >> 11) & 7);
        s.X87.Status = (ushort)(from.Fpu.Fsw & ~0x3800);
        s.X87.Tags = from.Fpu.Ftw;
        for (int i = 0; i < 8; i++)
        {
            s.X87.Registers[(s.X87.Top + i) & 7] = new X87Register { Significand = from.Fpu.StMantissa(i), SignExponent = from.Fpu.StSignExponent(i) };
        }
    }

    private OracleState StoreAtEnd(ulong end)
    {
        OracleState result = Store();
        if (result.Fault.Vector == Vector.UD && result.Rip == end) result.Fault = OracleFault.None;
        return result;
    }

    private OracleState Store()
    {
        ref CpuState s = ref _cpu.S;
        var to = OracleState.PowerOn;
        for (int i = 0; i < 16; i++)
        {
            to.Gpr[i] = s.Gpr[i];
            to.Fpu.SetYmm(i, s.Ymm[i].AsByte());
        }

        to.Rip = s.Rip;
        to.Rflags = s.Rflags;
        to.Fault = new OracleFault { Vector = s.FaultVector, ErrorCode = s.FaultVector >= 0 ? s.FaultError : 0, Address = s.FaultVector == 14 ? s.Cr2 : 0 };
        to.Fpu.Mxcsr = s.Mxcsr;
        to.Fpu.Fcw = s.X87.Control;
        to.Fpu.Fsw = (ushort)(s.X87.Status | (s.X87.Top << 11));
        to.Fpu.Ftw = s.X87.Tags;
        for (int i = 0; i < 8; i++)
        {
            X87Register register = s.X87.Registers[(s.X87.Top + i) & 7];
            to.Fpu.SetSt(i, register.SignExponent, register.Significand);
        }

        return to;
    }
}
