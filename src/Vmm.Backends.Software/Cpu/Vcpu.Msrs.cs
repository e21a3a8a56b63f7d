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
    private static readonly Held[] s_stored =
    [
        new(Msr.FeatureControl, Msr.FeatureControl, 1, 0),
        new(Msr.SpecCtrl, Msr.SpecCtrl, 0, 7),
        new(Msr.BiosSignId, Msr.BiosSignId, 0xFFFFFFFFUL << 32, 0),
        new(Msr.PlatformInfo, Msr.PlatformInfo, 10UL << 8 | 10UL << 40, 0),
        new(Msr.MtrrCap, Msr.MtrrCap, 0x508, 0),
        new(Msr.ArchCapabilities, Msr.ArchCapabilities, NotVulnerable, 0),
        new(Msr.McgCap, Msr.McgCap, 0, 0),
        new(Msr.McgStatus, Msr.McgStatus, 0, 7),
        new(Msr.MiscEnable, Msr.MiscEnable, 1, 0x0000_0004_0044_0889),
        new(Msr.DebugCtl, Msr.DebugCtl, 0, 3),
        new(Msr.MtrrPhysBase0, Msr.MtrrPhysMask7, 0, 0x0000_3FFF_FFFF_FFFF),
        new(Msr.MtrrFix64K, Msr.MtrrFix64K, 0, ulong.MaxValue),
        new(Msr.MtrrFix16K80000, Msr.MtrrFix16KA0000, 0, ulong.MaxValue),
        new(Msr.MtrrFix4KC0000, Msr.MtrrFix4KF8000, 0, ulong.MaxValue),
        new(Msr.MtrrDefType, Msr.MtrrDefType, 0x806, 0xCFF),
        new(Msr.Pat, Msr.Pat, 0x0007_0406_0007_0406, ulong.MaxValue),
        new(Msr.Xss, Msr.Xss, 0, 0),
        new(Msr.Star, Msr.Star, 0, ulong.MaxValue),
        new(Msr.Fmask, Msr.Fmask, 0, uint.MaxValue),
        new(Msr.TscAux, Msr.TscAux, 0, uint.MaxValue),
        new(Msr.SysenterCs, Msr.SysenterCs, 0, uint.MaxValue),
    ];

    private static readonly uint[] s_canonical = [Msr.Lstar, Msr.Cstar, Msr.KernelGsBase, Msr.SysenterEsp, Msr.SysenterEip];

    private static readonly uint[] s_inState = [Msr.Star, Msr.Lstar, Msr.Fmask, Msr.KernelGsBase];

    // All that hold what was written, in order, and what is there after reset. Those that are in the state have places too, which are not used.
    private static readonly uint[] s_numbers = Numbers();
    private static readonly ulong[] s_reset = Resets();

    private readonly ulong[] _msrs = new ulong[s_numbers.Length];

    /// <summary>A stored register's value, for instructions that use it.</summary>
    public ulong StoredMsr(uint index) => Place(index) is >= 0 and var place ? _msrs[place] : 0;

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

        foreach (var held in s_stored)
        {
            if (index < held.First || index > held.Last) continue;
            ref var stored = ref Stored(index);
            if ((value & ~held.Writable) != 0 && ((value ^ stored) & ~held.Writable) != 0) return false;
            stored = value;
            if (index is Msr.Star or Msr.Fmask) UpdateCalls();
            return true;
        }

        Counters.UnknownMsrs++;
        return false;
    }

    // Loops, as all that generic methods need for values of these types the JIT would have to compile, 150 methods.
    private static uint[] Numbers()
    {
        var count = s_canonical.Length;
        foreach (var held in s_stored) count += (int)(held.Last - held.First) + 1;
        var numbers = new uint[count];
        count = 0;
        foreach (var held in s_stored)
        {
            for (var number = held.First; number <= held.Last; number++) Insert(number);
        }

        foreach (var number in s_canonical) Insert(number);
        return numbers;

        void Insert(uint number)
        {
            var at = count++;
            for (; at > 0 && numbers[at - 1] > number; at--) numbers[at] = numbers[at - 1];
            numbers[at] = number;
        }
    }

    private static ulong[] Resets()
    {
        var resets = new ulong[s_numbers.Length];
        foreach (var held in s_stored)
        {
            for (var number = held.First; number <= held.Last; number++) resets[Place(number)] = held.Reset;
        }

        return resets;
    }

    // -1 if it is none of those.
    private static int Place(uint number)
    {
        for (int first = 0, last = s_numbers.Length - 1; first <= last;)
        {
            var middle = (first + last) / 2;
            if (s_numbers[middle] == number) return middle;
            if (s_numbers[middle] < number) first = middle + 1;
            else last = middle - 1;
        }

        return -1;
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
                if (Place(index) is >= 0 and var place) return ref _msrs[place];
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

    // Registers with numbers in a row.
    private readonly record struct Held(uint First, uint Last, ulong Reset, ulong Writable);
}
