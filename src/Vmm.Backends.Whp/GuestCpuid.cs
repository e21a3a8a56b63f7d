// CPUID as the guest sees it (Intel SDM vol. 2A, CPUID): the model's, less what this host's partitions cannot have, with the host's frequencies.
using Vmm.Backends.Whp.Interop;
using Vmm.Core.X86;
using F = Vmm.Backends.Whp.Interop.WHV_PROCESSOR_FEATURES;
using X = Vmm.Backends.Whp.Interop.WHV_PROCESSOR_XSAVE_FEATURES;

namespace Vmm.Backends.Whp;

/// <summary>Answers CPUID exits of one partition.</summary>
internal sealed class GuestCpuid
{
    private static readonly (ulong Bit, CpuFeature Feature)[] s_features =
    [
        (F.Sse3Support, CpuFeature.Sse3), (F.LahfSahfSupport, CpuFeature.LahfSahf), (F.Ssse3Support, CpuFeature.Ssse3), (F.Sse4_1Support, CpuFeature.Sse41),
        (F.Sse4_2Support, CpuFeature.Sse42), (F.PopCntSupport, CpuFeature.Popcnt), (F.Cmpxchg16bSupport, CpuFeature.Cx16), (F.LzcntSupport, CpuFeature.Lzcnt),
        (F.Page1GbSupport, CpuFeature.Pdpe1Gb), (F.AesSupport, CpuFeature.Aes), (F.PclmulqdqSupport, CpuFeature.Pclmulqdq), (F.PcidSupport, CpuFeature.Pcid),
        (F.F16CSupport, CpuFeature.F16c), (F.RdRandSupport, CpuFeature.Rdrand), (F.RdWrFsGsSupport, CpuFeature.Fsgsbase), (F.SmepSupport, CpuFeature.Smep),
        (F.EnhancedFastStringSupport, CpuFeature.Erms), (F.Bmi1Support, CpuFeature.Bmi1), (F.Bmi2Support, CpuFeature.Bmi2), (F.MovbeSupport, CpuFeature.Movbe),
        (F.RdSeedSupport, CpuFeature.Rdseed), (F.AdxSupport, CpuFeature.Adx), (F.SmapSupport, CpuFeature.Smap), (F.RdtscpSupport, CpuFeature.Rdtscp),
        (F.ClflushoptSupport, CpuFeature.ClflushOpt), (F.ClwbSupport, CpuFeature.Clwb), (F.ShaSupport, CpuFeature.Sha), (F.InvpcidSupport, CpuFeature.Invpcid),
        (F.IbrsSupport, CpuFeature.SpecCtrl), (F.FastShortRepMovSupport, CpuFeature.Fsrm), (F.RdPidSupport, CpuFeature.Rdpid), (F.UmipSupport, CpuFeature.Umip),
    ];

    private static readonly (ulong Bit, CpuFeature Feature)[] s_xsaveFeatures =
    [
        (X.XsaveSupport, CpuFeature.Xsave), (X.XsaveoptSupport, CpuFeature.XsaveOpt), (X.AvxSupport, CpuFeature.Avx), (X.Avx2Support, CpuFeature.Avx2), (X.FmaSupport, CpuFeature.Fma),
    ];

    private readonly int _count;
    private readonly ulong _tscFrequency, _crystalFrequency;

    public GuestCpuid(CpuModel model, int count, WhpPlatform platform)
    {
        _count = count;
        _tscFrequency = platform.GetCapability(WHV_CAPABILITY_CODE.WHvCapabilityCodeProcessorClockFrequency);
        _crystalFrequency = platform.GetCapability(WHV_CAPABILITY_CODE.WHvCapabilityCodeInterruptClockFrequency);
        var features = platform.GetProcessorFeatures();
        foreach (var (bit, feature) in s_features)
        {
            if ((features.Bank0.AsUINT64 & bit) == 0) model = model.Without(feature);
        }

        var xsave = platform.GetCapability(WHV_CAPABILITY_CODE.WHvCapabilityCodeProcessorXsaveFeatures);
        foreach (var (bit, feature) in s_xsaveFeatures)
        {
            if ((xsave & bit) == 0) model = model.Without(feature);
        }

        if ((features.Bank1.AsUINT64 & WHV_PROCESSOR_FEATURES1.TscDeadlineTmrSupport) == 0) model = model.Without(CpuFeature.TscDeadline);
        if ((features.Bank1.AsUINT64 & WHV_PROCESSOR_FEATURES1.TscAdjustSupport) == 0) model = model.Without(CpuFeature.TscAdjust);

        // The platform's partitions have none of these, whatever the host's processor has.
        Model = model.Without(CpuFeature.Monitor, CpuFeature.La57, CpuFeature.Pku);
    }

    /// <summary>The model with what this host can give.</summary>
    public CpuModel Model { get; private set; }

    /// <summary>The host emulates xAPICs only.</summary>
    public void WithoutX2Apic() => Model = Model.Without(CpuFeature.X2Apic);

    /// <summary>The leaves that the model answers; of others too, so that nothing of the host shows through.</summary>
    public static ReadOnlySpan<uint> ExitList()
    {
        var leaves = Enumerable.Range(0, 0x20).Select(i => (uint)i).Concat(Enumerable.Range(0, 0x11).Select(i => 0x40000000 + (uint)i)).Concat(Enumerable.Range(0, 0x22).Select(i => 0x80000000 + (uint)i));
        return leaves.ToArray();
    }

    /// <summary>Answers CPUID.</summary>
    /// <param name="leaf">EAX.</param>
    /// <param name="subleaf">ECX.</param>
    /// <param name="index">The processor.</param>
    /// <param name="cr4">Its CR4.</param>
    /// <param name="xcr0">Its XCR0.</param>
    /// <param name="apicBase">Its IA32_APIC_BASE.</param>
    public CpuidResult Get(uint leaf, uint subleaf, int index, ulong cr4, ulong xcr0, ulong apicBase)
    {
        var r = Model.GetCpuid(leaf, subleaf, index, _count);
        switch (leaf)
        {
            case 1: return r with { Ecx = (r.Ecx & ~(1u << 27)) | (uint)((cr4 >> 18 & 1) << 27), Edx = (apicBase & 0x800) != 0 ? r.Edx : r.Edx & ~(1u << 9) };
            case 0xD when subleaf == 0 && Model.Has(CpuFeature.Xsave): return r with { Ebx = CpuModel.XsaveSize(xcr0) };
            case 0x15: return Ratio(r);
            case 0x16 when _tscFrequency != 0: return r with { Eax = (uint)(_tscFrequency / 1_000_000), Ebx = (uint)(_tscFrequency / 1_000_000) };
            case 0x40000010 when _tscFrequency != 0: return r with { Eax = (uint)(_tscFrequency / 1000), Ebx = (uint)(_crystalFrequency / 1000) };
            default: return r;
        }
    }

    // Kernels take the crystal for the clock of the APIC timer and multiply in 32 bits, so the numerator has to stay small enough.
    private CpuidResult Ratio(CpuidResult model)
    {
        if (_tscFrequency < 1_000_000 || _crystalFrequency < 1_000_000) return default;
        var denominator = Math.Min(1000, uint.MaxValue / (_tscFrequency / 1000));
        return model with { Eax = (uint)denominator, Ebx = (uint)((Int128)_tscFrequency * denominator / _crystalFrequency), Ecx = (uint)_crystalFrequency };
    }
}
