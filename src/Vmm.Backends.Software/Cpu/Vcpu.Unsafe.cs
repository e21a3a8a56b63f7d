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
    private readonly VcpuMemory _memory;
    private long _countedOffset;

    public Vcpu(SoftwarePartition partition, int index, CpuModel model)
    {
        (Partition, Index, Model, PhysicalBits) = (partition, index, model, model.PhysicalAddressBits);
        if (partition.Clock.IsCounted) Entropy = Reproducible(index);
        _hasGigabytePages = model.Has(CpuFeature.Pdpe1Gb);
        // SAFETY: freed by Dispose, which the partition calls when no thread runs this processor.
        _memory = new VcpuMemory();
        _state = _memory.State;
        _windows = new Windows(_memory.Windows, partition.TranslateAfter == 0 ? 2 : 16, HostEntropy());
        _tlb = new Tlb(_memory, _spaces, _windows);
        _scratch = (Block*)NativeMemory.AllocZeroed((nuint)(sizeof(Block) + 2 * sizeof(Op)));
        _builder = new BlockBuilder(model);
        _blocks = new BlockCache(ControlOps.Stale, () => _translator?.FlushAll(), partition.Engine != CpuEngine.Interpret && Translator.IsSupported, partition.TranslateAfter < Translator.DefaultThreshold);
        MayTranslate = partition.Engine != CpuEngine.Interpret && Translator.IsSupported;
        _counts = !MayTranslate || partition.Clock.IsCounted;
        Apic = new LocalApic(this);
        _cr4Mask = model.Cr4Mask;
        ResetMsrs();
        S.FaultVector = -1;
        S.Budget = -1;
        _budgetGiven = -1;
        var initial = new VcpuState();
        if (index != 0) initial.MpState = MpState.Uninitialized;
        if (index != 0) initial.ApicBase &= ~0x100UL;
        SetState(initial);
    }

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

    /// <summary>Drops what was decoded of some granules of a physical page. On this processor's thread, or while it does not run.</summary>
    public void DropCode(ulong gpa, ulong granules) => _blocks.Drop(gpa, granules, _translator);

    /// <summary>Makes writes to a host page take the slow path again; zero for all pages.</summary>
    public void DropWrites(nint hostPage) => _tlb.FlushWrites(hostPage);

    public void Dispose()
    {
        Apic.Dispose();
        _blocks.Dispose();
        _translator?.Dispose();
        _memory.Dispose();
        NativeMemory.Free(_scratch);
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
