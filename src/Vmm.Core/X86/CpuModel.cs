using System.Collections.Immutable;
using System.Text;
using Vmm.Core.Time;
using static Vmm.Core.X86.CpuFeature;

namespace Vmm.Core.X86;

/// <summary>
/// The CPU a guest sees: a name and a set of features. The levels are those of the x86-64 psABI; each adds the system features
/// that kernels expect of a processor of that level. Immutable; <see cref="With"/> and <see cref="Without"/> derive others.
/// </summary>
public sealed record CpuModel
{
    private static readonly CpuFeature[] Base =
    [
        Fpu, Vme, De, Pse, Tsc, Msr, Pae, Mce, Cx8, Apic, Sep, Mtrr, Pge, Mca, Cmov, Pat, Pse36, Clflush, Mmx, Fxsr, Sse, Sse2, SelfSnoop,
        Syscall, Nx, Pdpe1Gb, Rdtscp, Lm, Sse3, Ssse3, Cx16, Sse41, Sse42, Popcnt, LahfSahf, X2Apic, TscDeadline, TscAdjust, Hypervisor, Pcid,
        Fsgsbase, Smep, Smap, Umip, Invpcid, Erms, Fsrm, Rdrand, Rdseed, Xsave, XsaveOpt, Xgetbv1, ArchCapabilities, SpecCtrl, InvariantTsc, Arat, Rdpid,
    ];

    private static readonly CpuFeature[] Level3 = [Avx, Avx2, Bmi1, Bmi2, F16c, Fma, Lzcnt, Movbe];

    private static readonly CpuFeature[] Everything = [Aes, Pclmulqdq, Sha, Adx, Pku, La57, CpuFeature.Monitor, ClflushOpt, Clwb, Prefetchw, XsaveC];

    private readonly ImmutableArray<uint> _words;

    private CpuModel(string name, ImmutableArray<uint> words)
    {
        (Name, _words) = (name, words);
        // VME, PVI, TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT; then those that a feature brings.
        Cr4Mask = 0x7FF;
        ReadOnlySpan<(CpuFeature Feature, int Bit)> byFeature = [(Umip, 11), (La57, 12), (Fsgsbase, 16), (Pcid, 17), (Xsave, 18), (Smep, 20), (Smap, 21), (Pku, 22)];
        foreach (var (feature, bit) in byFeature) Cr4Mask |= Has(feature) ? 1UL << bit : 0;
    }

    /// <summary>x86-64-v2: up to SSE4.2, without AVX.</summary>
    public static CpuModel X86_64_V2 { get; } = Make("x86-64-v2", Base);

    /// <summary>x86-64-v3: with AVX2, BMI and FMA. The default.</summary>
    public static CpuModel X86_64_V3 { get; } = Make("x86-64-v3", [.. Base, .. Level3]);

    /// <summary>All that the software CPU has: x86-64-v3 with AES, PCLMULQDQ, SHA, ADX, protection keys, 5-level paging and MONITOR.</summary>
    public static CpuModel Max { get; } = Make("max", [.. Base, .. Level3, .. Everything]);

    /// <summary>The named models.</summary>
    public static ImmutableArray<CpuModel> Named { get; } = [X86_64_V2, X86_64_V3, Max];

    /// <summary>The name, as <c>--cpu-model</c> takes it.</summary>
    public string Name { get; init; }

    /// <summary>Finds a named model.</summary>
    /// <param name="name">Such as "x86-64-v3".</param>
    /// <returns>The model, or null.</returns>
    public static CpuModel? Find(string name) => Named.FirstOrDefault(m => m.Name == name);

    /// <summary>Whether the model has a feature.</summary>
    /// <param name="feature">The feature.</param>
    public bool Has(CpuFeature feature) => (_words[(int)feature / 32] >> ((int)feature % 32) & 1) != 0;

    /// <summary>The same model with more features.</summary>
    /// <param name="features">What to add.</param>
    public CpuModel With(params ReadOnlySpan<CpuFeature> features) => Change(features, true);

    /// <summary>The same model with fewer features.</summary>
    /// <param name="features">What to take away.</param>
    public CpuModel Without(params ReadOnlySpan<CpuFeature> features) => Change(features, false);

    /// <summary>The XSAVE components (bits of XCR0) that the model supports.</summary>
    public ulong Xcr0Mask => !Has(Xsave) ? 1 : 3UL | (Has(Avx) ? 4UL : 0) | (Has(Pku) ? 1UL << 9 : 0);

    /// <summary>The width of guest-physical addresses, in bits.</summary>
    public int PhysicalAddressBits => 46;

    /// <summary>The bits of CR4 that the model has.</summary>
    public ulong Cr4Mask { get; }

    /// <summary>
    /// Answers CPUID. Bits that depend on the running state (OSXSAVE, OSPKE, the size of the enabled XSAVE area in D.0.EBX,
    /// APIC off) are left for the backend to correct. A leaf beyond the last gives zeros.
    /// </summary>
    /// <param name="leaf">EAX.</param>
    /// <param name="subleaf">ECX.</param>
    /// <param name="index">The vCPU, which is its APIC id.</param>
    /// <param name="count">How many vCPUs the machine has.</param>
    public CpuidResult GetCpuid(uint leaf, uint subleaf, int index, int count)
    {
        var shift = (uint)(32 - uint.LeadingZeroCount((uint)count - 1));
        return (leaf, subleaf) switch
        {
            // Family 6, model 0x8F: a server part recent enough that kernels look for none of the older ones' errata.
            (0, _) => Text(0x1F, "GenuineIntel"),
            (1, _) => new(0x000806F8, (uint)index << 24 | (uint)count << 16 | 8 << 8, Word(0), Word(1) | (count > 1 ? 1u << 28 : 0)),
            (2, _) => new(0x00FEFF01, 0, 0, 0),
            (4, 0) => Cache(1, 1, 12, 64, count),
            (4, 1) => Cache(2, 1, 8, 64, count),
            (4, 2) => Cache(3, 2, 16, 2048, count),
            (4, 3) => Cache(3, 3, 16, 16384, count),
            (5, _) when Has(CpuFeature.Monitor) => new(64, 64, 3, 0x10),
            (6, _) => new(Word(10), 0, 0, 0),
            (7, 0) => new(0, Word(2), Word(3), Word(4)),
            (0xB or 0x1F, 0) => new(0, 1, 0x100, (uint)index),
            (0xB or 0x1F, 1) => new(shift, (uint)count, 0x201, (uint)index),
            (0xB or 0x1F, _) => new(0, 0, subleaf, (uint)index),
            (0xD, 0) when Has(Xsave) => new((uint)Xcr0Mask, XsaveSize(Xcr0Mask), XsaveSize(Xcr0Mask), (uint)(Xcr0Mask >> 32)),
            (0xD, 1) when Has(Xsave) => new(Word(7), 0, 0, 0),
            (0xD, 2) when Has(Avx) => new(256, 576, 0, 0),
            (0xD, 9) when Has(Pku) => new(8, 2688, 0, 0),
            (0x15, _) => new(1, (uint)(VmClock.TscFrequency / 25_000_000), 25_000_000, 0),
            (0x16, _) => new((uint)(VmClock.TscFrequency / 1_000_000), (uint)(VmClock.TscFrequency / 1_000_000), 100, 0),
            (0x40000000, _) => Text(0x40000010, "VmmVmmVmm\0\0\0"),
            (0x40000010, _) => new((uint)(VmClock.TscFrequency / 1000), 1_000_000, 0, 0),
            (0x80000000, _) => new(0x80000008, 0, 0, 0),
            (0x80000001, _) => new(0, 0, Word(5), Word(6)),
            (>= 0x80000002 and <= 0x80000004, _) => Brand(leaf - 0x80000002),
            (0x80000006, _) => new(0, 0, 0x08008040, 0),
            (0x80000007, _) => new(0, 0, 0, Word(8)),
            (0x80000008, _) => new((uint)(PhysicalAddressBits | (Has(La57) ? 57 : 48) << 8), Word(9), 0, 0),
            _ => default,
        };
    }

    /// <summary>The size in bytes of a standard-format XSAVE area for a set of components.</summary>
    /// <param name="components">Bits of XCR0.</param>
    public static uint XsaveSize(ulong components) => (components & 1 << 9) != 0 ? 2696u : (components & 4) != 0 ? 832u : 576u;

    /// <summary>The model's name.</summary>
    public override string ToString() => Name;

    private static CpuModel Make(string name, ReadOnlySpan<CpuFeature> features) => new CpuModel(name, [.. new uint[11]]).Change(features, true);

    private CpuModel Change(ReadOnlySpan<CpuFeature> features, bool value)
    {
        var words = _words.ToArray();
        foreach (var feature in features)
        {
            ref var word = ref words[(int)feature / 32];
            word = value ? word | 1u << (int)feature % 32 : word & ~(1u << (int)feature % 32);
        }

        return new CpuModel(Name, [.. words]);
    }

    private uint Word(int group) => _words[group];

    private static CpuidResult Text(uint eax, string text)
    {
        var b = Encoding.ASCII.GetBytes(text);
        uint At(int i) => BitConverter.ToUInt32(b, i);
        // The vendor string is EBX, EDX, ECX for leaf 0 but EBX, ECX, EDX for hypervisor leaves.
        return eax < 0x40000000 ? new(eax, At(0), At(8), At(4)) : new(eax, At(0), At(4), At(8));
    }

    private CpuidResult Brand(uint part)
    {
        var b = new byte[48];
        Encoding.ASCII.GetBytes($"Vmm virtual CPU ({Name})".AsSpan(), b);
        uint At(uint i) => BitConverter.ToUInt32(b, (int)(part * 16 + i));
        return new(At(0), At(4), At(8), At(12));
    }

    private static CpuidResult Cache(uint type, uint level, uint ways, uint sets, int count) =>
        new(type | level << 5 | 1 << 8 | (level == 3 ? (uint)count - 1 << 14 : 0) | Math.Min((uint)count - 1, 63) << 26, 63 | (ways - 1) << 22, sets - 1, 0);
}
