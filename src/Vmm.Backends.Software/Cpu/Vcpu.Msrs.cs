using System.Collections.Frozen;
using System.Runtime.CompilerServices;
using Vmm.Core.X86;
using static Vmm.Backends.Software.Cpu.ControlBits;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Model-specific registers: those with an effect by name, those that only hold a value in one table.</summary>
internal sealed partial class Vcpu
{
    /// <summary>What the model promises not to suffer from: a software CPU does not speculate.</summary>
    private const ulong NotVulnerable = 1 | 2 | 8 | 16 | 32 | 64 | 1 << 8 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 20 | 1 << 24 | 1 << 26 | 1 << 27 | 1UL << 62;

    /// <summary>Registers that hold what was written: number, value after reset, writable bits.</summary>
    private static readonly (uint First, uint Last, ulong Reset, ulong Writable)[] s_stored =
    [
        (Msr.FeatureControl, Msr.FeatureControl, 1, 0),
        (Msr.SpecCtrl, Msr.SpecCtrl, 0, 7),
        (Msr.BiosSignId, Msr.BiosSignId, 0xFFFFFFFFUL << 32, 0),
        (Msr.PlatformInfo, Msr.PlatformInfo, 10UL << 8 | 10UL << 40, 0),
        (Msr.MtrrCap, Msr.MtrrCap, 0x508, 0),
        (Msr.ArchCapabilities, Msr.ArchCapabilities, NotVulnerable, 0),
        (Msr.McgCap, Msr.McgCap, 0, 0),
        (Msr.McgStatus, Msr.McgStatus, 0, 7),
        (Msr.MiscEnable, Msr.MiscEnable, 1, 0x0000_0004_0044_0889),
        (Msr.DebugCtl, Msr.DebugCtl, 0, 3),
        (Msr.MtrrPhysBase0, Msr.MtrrPhysMask7, 0, 0x0000_3FFF_FFFF_FFFF),
        (Msr.MtrrFix64K, Msr.MtrrFix64K, 0, ulong.MaxValue),
        (Msr.MtrrFix16K80000, Msr.MtrrFix16KA0000, 0, ulong.MaxValue),
        (Msr.MtrrFix4KC0000, Msr.MtrrFix4KF8000, 0, ulong.MaxValue),
        (Msr.MtrrDefType, Msr.MtrrDefType, 0x806, 0xCFF),
        (Msr.Pat, Msr.Pat, 0x0007_0406_0007_0406, ulong.MaxValue),
        (Msr.Xss, Msr.Xss, 0, 0),
        (Msr.Star, Msr.Star, 0, ulong.MaxValue),
        (Msr.Fmask, Msr.Fmask, 0, uint.MaxValue),
        (Msr.TscAux, Msr.TscAux, 0, uint.MaxValue),
        (Msr.SysenterCs, Msr.SysenterCs, 0, uint.MaxValue),
    ];

    private static readonly uint[] s_canonical = [Msr.Lstar, Msr.Cstar, Msr.KernelGsBase, Msr.SysenterEsp, Msr.SysenterEip];

    private static readonly uint[] s_inState = [Msr.Star, Msr.Lstar, Msr.Fmask, Msr.KernelGsBase];

    // All that hold what was written, in order; and of those that are not in the state their places, and what is there after reset.
    private static readonly uint[] s_numbers = [.. s_stored.SelectMany(s => Enumerable.Range((int)s.First, (int)(s.Last - s.First) + 1)).Select(n => (uint)n).Concat(s_canonical).Order()];
    private static readonly FrozenDictionary<uint, int> s_places = s_numbers.Except(s_inState).Select((number, place) => KeyValuePair.Create(number, place)).ToFrozenDictionary();
    private static readonly ulong[] s_reset = [.. s_places.OrderBy(p => p.Value).Select(p => s_stored.FirstOrDefault(s => p.Key >= s.First && p.Key <= s.Last).Reset)];

    private readonly ulong[] _msrs = new ulong[s_reset.Length];

    /// <summary>A stored register's value, for instructions that use it.</summary>
    public ulong StoredMsr(uint index) => s_places.TryGetValue(index, out var place) ? _msrs[place] : 0;

    /// <summary>RDMSR. False: the register does not exist.</summary>
    public bool TryReadMsr(uint index, out ulong value)
    {
        ref var s = ref S;
        switch (index)
        {
            case Msr.Tsc: value = Tsc; return true;
            case Msr.TscAdjust: value = (ulong)_tscOffset; return true;
            case Msr.ApicBase: value = Apic.Base; return true;
            case Msr.Efer: value = s.Efer; return true;
            case Msr.FsBase: value = s.Seg[4].Base; return true;
            case Msr.GsBase: value = s.Seg[5].Base; return true;
            case Msr.TscDeadline: value = Apic.TscDeadline; return true;
            case >= Msr.X2ApicFirst and <= Msr.X2ApicLast: return Apic.TryReadMsr(index, out value);
            case >= Msr.McBank0 and <= Msr.McBankEnd:
                value = 0;
                return false;
        }

        ref var stored = ref Stored(index);
        value = Unsafe.IsNullRef(ref stored) ? 0 : stored;
        if (!Unsafe.IsNullRef(ref stored)) return true;
        Counters.UnknownMsrs++;
        return false;
    }

    /// <summary>WRMSR. False: no such register, or a value it cannot hold.</summary>
    public bool TryWriteMsr(uint index, ulong value)
    {
        ref var s = ref S;
        switch (index)
        {
            case Msr.Tsc: TscOffset = (long)value - Partition.Clock.Now; Apic.TscChanged(); return true;
            case Msr.TscAdjust: TscOffset = (long)value; Apic.TscChanged(); return true;
            case Msr.ApicBase: return Apic.TrySetBase(value);
            case Msr.Efer: return TrySetEfer(value);
            case Msr.PredCmd or Msr.FlushCmd: return (value & ~1UL) == 0;
            case Msr.BiosSignId: return true;
            case Msr.FsBase or Msr.GsBase:
                if (!IsCanonical(value)) return false;
                s.Seg[index == Msr.FsBase ? 4 : 5].Base = value;
                return true;
            case Msr.TscDeadline: Apic.TscDeadline = value; return true;
            case >= Msr.X2ApicFirst and <= Msr.X2ApicLast: return Apic.TryWriteMsr(index, value);
            case Msr.Pat when !IsPat(value): return false;
        }

        if (Array.IndexOf(s_canonical, index) >= 0)
        {
            if (!IsCanonical(value)) return false;
            Stored(index) = value;
            return true;
        }

        foreach (var (first, last, _, writable) in s_stored)
        {
            if (index < first || index > last) continue;
            ref var stored = ref Stored(index);
            if ((value & ~writable) != 0 && ((value ^ stored) & ~writable) != 0) return false;
            stored = value;
            if (index is Msr.Star or Msr.Fmask) UpdateCalls();
            return true;
        }

        Counters.UnknownMsrs++;
        return false;
    }

    private static bool IsPat(ulong value)
    {
        for (var i = 0; i < 8; i++, value >>= 8)
        {
            if ((value & 0xFF) is 2 or 3 or > 7) return false;
        }

        return true;
    }

    private MsrValue[] SaveMsrs()
    {
        var saved = new MsrValue[s_numbers.Length + 3];
        (saved[0], saved[1], saved[2]) = (new(Msr.Tsc, Tsc), new(Msr.TscAdjust, (ulong)_tscOffset), new(Msr.TscDeadline, Apic.TscDeadline));
        for (var i = 0; i < s_numbers.Length; i++) saved[i + 3] = new MsrValue(s_numbers[i], Stored(s_numbers[i]));
        return saved;
    }

    // Registers that this model does not have (a snapshot of another backend may hold some) are left out.
    private void LoadMsrs(MsrValue[] saved)
    {
        ResetMsrs();
        TscOffset = 0;
        foreach (var (index, value) in saved)
        {
            if (index == Msr.Tsc) TscOffset = (long)value - Partition.Clock.Now;
            else if (index == Msr.TscDeadline) Apic.TscDeadline = value;
            else if (!Unsafe.IsNullRef(ref Stored(index))) Stored(index) = value;
        }

        UpdateCalls();
    }

    private void ResetMsrs()
    {
        s_reset.CopyTo(_msrs, 0);
        foreach (var index in s_inState) Stored(index) = 0;
    }

    // Where a register that only holds a value is kept; null for any other.
    private ref ulong Stored(uint index)
    {
        ref var s = ref S;
        switch (index)
        {
            case Msr.Star: return ref s.Star;
            case Msr.Lstar: return ref s.Lstar;
            case Msr.Fmask: return ref s.Fmask;
            case Msr.KernelGsBase: return ref s.KernelGsBase;
            default:
                if (s_places.TryGetValue(index, out var place)) return ref _msrs[place];
                return ref Unsafe.NullRef<ulong>();
        }
    }

    private bool TrySetEfer(ulong value)
    {
        ref var s = ref S;
        const ulong known = EferSce | EferLme | EferLma | EferNxe;
        if ((value & ~known) != 0) return false;
        if (((value ^ s.Efer) & EferLme) != 0 && (s.Cr0 & Cr0Pg) != 0) return false;
        var changed = value ^ s.Efer;
        s.Efer = (value & ~EferLma) | (s.Efer & EferLma);
        if ((changed & EferNxe) != 0) FlushTranslations(true);
        UpdateCalls();
        UpdateMode();
        return true;
    }

    /// <summary>CPUID, with the bits that depend on the running state.</summary>
    public CpuidResult Cpuid(uint leaf, uint subleaf)
    {
        var r = Model.GetCpuid(leaf, subleaf, Index, Partition.Processors.Length);
        ref var s = ref S;
        if (leaf == 1)
        {
            var ecx = (s.Cr4 & Cr4OsXsave) != 0 ? r.Ecx | 1u << 27 : r.Ecx & ~(1u << 27);
            var edx = (Apic.Base & 0x800) != 0 ? r.Edx : r.Edx & ~(1u << 9);
            return r with { Ecx = ecx, Edx = edx };
        }

        if (leaf == 7 && subleaf == 0) return r with { Ecx = (s.Cr4 & Cr4Pke) != 0 ? r.Ecx | 16 : r.Ecx & ~16u };
        if (leaf == 0xD && subleaf is 0 or 1 && Model.Has(CpuFeature.Xsave)) return r with { Ebx = subleaf == 0 || Model.Has(CpuFeature.XsaveC) ? CpuModel.XsaveSize(s.Xcr0) : 0 };
        return r;
    }
}
