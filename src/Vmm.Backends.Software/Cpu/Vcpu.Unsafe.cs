using System.Runtime.InteropServices;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Interpret;
using Vmm.Backends.Software.Interrupts;
using Vmm.Backends.Software.Mmu;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Backends.Software.Translate;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Cpu;

/// <summary>
/// One software x86-64 processor. Instruction handlers are static methods of the Interpret folder, of the form
/// <c>static ref Op Name(Vcpu cpu, ref Op op)</c>: they do one instruction and return the op to go on with.
/// </summary>
internal sealed unsafe partial class Vcpu : IVcpu, IDisposable
{
    /// <summary>Width of guest-physical addresses.</summary>
    public readonly int PhysicalBits;

    private readonly bool _hasGigabytePages;
    private readonly VcpuTables _tables;
    private readonly VcpuMemory _memory;
    private long _countedOffset;

    public Vcpu(SoftwarePartition partition, int index, CpuModel model)
    {
        (Partition, Index, Model, PhysicalBits) = (partition, index, model, model.PhysicalAddressBits);
        if (partition.Clock.IsCounted) Entropy = Reproducible(index);
        _hasGigabytePages = model.Has(CpuFeature.Pdpe1Gb);
        // SAFETY: left by Dispose, which the partition calls when no thread runs this processor.
        _tables = VcpuTables.Take(model);
        _memory = _tables.Memory;
        _state = _memory.State;
        (_spaces, _windows, _tlb, _builder, _blocks) = (_tables.Spaces, _tables.Windows, _tables.Tlb, _tables.Builder, _tables.Blocks);
        MayTranslate = partition.Engine != CpuEngine.Interpret && Translator.IsSupported;
        _blocks.Begin(MayTranslate);
        _counts = !MayTranslate || partition.Clock.IsCounted;
        Apic = new LocalApic(this);
        _cr4Mask = model.Cr4Mask;
        S.Budget = -1;
        _budgetGiven = -1;
        Load(index == 0 ? s_powerOn : s_waiting);
    }

    // Of the first processor, and of the others. Only read.
    private static readonly VcpuState s_powerOn = new();
    private static readonly VcpuState s_waiting = new() { MpState = MpState.Uninitialized, ApicBase = s_powerOn.ApicBase & ~0x100UL };

    public SoftwarePartition Partition { get; }

    /// <summary>The machine's bus.</summary>
    public SystemBus Bus => Partition.Bus;

    /// <inheritdoc/>
    public int Index { get; }

    /// <summary>What CPUID says.</summary>
    public CpuModel Model { get; }

    /// <inheritdoc/>
    public VcpuCounters Counters { get; } = new();

    /// <summary>The local APIC.</summary>
    public LocalApic Apic { get; }

    /// <summary>The cached PDPTEs of PAE paging.</summary>
    public ulong[] Pdptes { get; } = new ulong[4];

    /// <summary>Drops what was decoded of some granules of a physical page, and targets of code that was translated. On this processor's thread.</summary>
    public void DropCode(ulong gpa, ulong granules, List<(int View, ulong Rip)> targets)
    {
        _blocks.Drop(gpa, granules);
        DropTargets(targets);
    }

    private void DropTargets(List<(int View, ulong Rip)> targets)
    {
        if (_executor is not { } executor) return;
        foreach (var (view, rip) in targets) executor.Targets.Drop(view, rip);
    }

    /// <summary>Makes writes to a host page take the slow path again; zero for all pages.</summary>
    public void DropWrites(nint hostPage) => _tlb.FlushWrites(hostPage);

    public void Dispose()
    {
        if (_state == null) return;
        Apic.Dispose();
        _executor?.Dispose();
        NativeMemory.Free(_scratch);
        // The memory may soon be another processor's.
        _state = null;
        _reads = _writes = null;
        _scratch = null;
        _tables.Leave(_executor is not null);
    }

    /// <summary>A read of what no memory backs: the local APIC's page, or the bus.</summary>
    private void ReadPhysicalIo(ulong gpa, Span<byte> data)
    {
        SyncClockAtBlock();
        if (Apic.Claims(gpa))
        {
            Apic.ReadPage((uint)(gpa & 0xFFF), data);
            return;
        }

        Counters.MmioReads++;
        Bus.ReadMmio(gpa, data);
    }

    /// <summary>A write of what no memory backs: the local APIC's page, or the bus.</summary>
    private void WritePhysicalIo(ulong gpa, ReadOnlySpan<byte> data)
    {
        SyncClockAtBlock();
        if (Apic.Claims(gpa))
        {
            Apic.WritePage((uint)(gpa & 0xFFF), data);
            return;
        }

        Counters.MmioWrites++;
        Bus.WriteMmio(gpa, data);
    }
}
