using System.Runtime.CompilerServices;
using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Tests.Interpret;

/// <summary>
/// A software CPU in flat 32-bit protected mode without paging, which runs one instruction at a time and delivers no faults. DS ends at
/// <see cref="DataLimit"/>, so that accesses can be made to fault.
/// </summary>
internal sealed unsafe class OneInstruction : IDisposable
{
    public const uint Code = 0x1000, Data = 0x2000, DataLimit = 0x2FFF;

    private readonly MemoryRegion _memory = MemoryRegion.Allocate("memory", 0, 0x4000);
    private readonly VmClock _clock = new(TimeProvider.System);
    private readonly SoftwarePartition _partition;

    public OneInstruction()
    {
        var memory = new GuestMemory();
        memory.Add(_memory);
        _partition = new SoftwarePartition(new PartitionOptions { Bus = new SystemBus(memory), Clock = _clock, CpuModel = CpuModel.Max }, CpuEngine.Interpret);
        Cpu = _partition.Processors[0];
        Change(_ => { });
    }

    public Vcpu Cpu { get; }

    /// <summary>The bytes from <see cref="Data"/> on.</summary>
    public Span<byte> Memory => new((byte*)_memory.HostAddress + Data, 0x2000);

    /// <summary>Starts from the usual state with changes.</summary>
    public void Change(Action<VcpuState> change)
    {
        var state = new VcpuState { Cr0 = 0x33, Cr4 = 0x4_0620, Xcr0 = 7, Rflags = 2 };
        state.Segments[1] = new SegmentState(0, 0xFFFF_FFFF, 0x08, 0xC09B);
        state.Segments[2] = new SegmentState(0, 0xFFFF_FFFF, 0x10, 0xC093);
        state.Segments[3] = new SegmentState(0, DataLimit, 0x18, 0xC093);
        change(state);
        Cpu.SetState(state);
    }

    /// <summary>Runs one instruction; the vector of its fault, or -1.</summary>
    public int Run(Action<Assembler> write)
    {
        var assembler = new Assembler(32);
        write(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), Code);
        // SAFETY: one instruction of at most 15 bytes, inside the region.
        stream.ToArray().CopyTo(new Span<byte>((byte*)_memory.HostAddress + Code, 64));
        _partition.DropCode(Cpu, _memory, Code, ulong.MaxValue, release: false);
        ref var s = ref Cpu.S;
        s.Rip = Code;
        s.Mode |= CpuMode.Step;
        s.FaultVector = -1;
        s.Events = 0;
        s.Budget = 0;
        ref var op = ref Lookup(Cpu);
        if (!Unsafe.IsNullRef(ref op)) Execute(Cpu, ref op);
        return s.FaultVector;
    }

    public void Dispose()
    {
        _partition.Dispose();
        _clock.Dispose();
        _memory.Dispose();
    }

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "Lookup")]
    private static extern ref Op Lookup(Vcpu cpu);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "Execute")]
    private static extern void Execute(Vcpu cpu, ref Op op);
}
