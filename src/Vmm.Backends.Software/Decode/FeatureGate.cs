using System.Runtime.CompilerServices;
using Iced.Intel;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Decode;

/// <summary>Which instructions the guest's CPU model has; the others are undefined opcodes. Any thread.</summary>
internal sealed class FeatureGate
{
    private static readonly ConditionalWeakTable<CpuModel, FeatureGate> s_all = [];
    private static readonly int s_codes = Enum.GetValues<Code>().Length;

    private readonly CpuModel _model;
    // Whoever asks first finds out; all find the same.
    private readonly sbyte[] _known = new sbyte[s_codes];

    private FeatureGate(CpuModel model) => _model = model;

    /// <summary>That of a model.</summary>
    public static FeatureGate Of(CpuModel model) => s_all.GetValue(model, static m => new FeatureGate(m));

    /// <summary>Whether an instruction exists.</summary>
    public bool Has(Code code)
    {
        ref var known = ref _known[(int)code];
        if (known == 0) known = (sbyte)(Compute(code) ? 1 : -1);
        return known > 0;
    }

    private bool Compute(Code code)
    {
        // Without shadow stacks RDSSP is a NOP, and compilers' unwinders rely on it.
        if (code is Code.Rdsspd_r32 or Code.Rdsspq_r64) return true;
        foreach (var feature in code.CpuidFeatures())
        {
            if (!HasFeature(feature)) return false;
        }

        return true;
    }

    private bool HasFeature(CpuidFeature feature) => feature switch
    {
        CpuidFeature.INTEL8086 or CpuidFeature.INTEL8086_ONLY or CpuidFeature.INTEL186 or CpuidFeature.INTEL286 or CpuidFeature.INTEL386
            or CpuidFeature.INTEL486 or CpuidFeature.X64 or CpuidFeature.CPUID or CpuidFeature.MULTIBYTENOP or CpuidFeature.PAUSE
            or CpuidFeature.RDPMC or CpuidFeature.SMM or CpuidFeature.CET_IBT or CpuidFeature.MPX or CpuidFeature.FPU or CpuidFeature.FPU287
            or CpuidFeature.FPU387 or CpuidFeature.CMOV or CpuidFeature.CX8 or CpuidFeature.FXSR or CpuidFeature.MMX or CpuidFeature.MSR
            or CpuidFeature.SEP or CpuidFeature.SSE or CpuidFeature.SSE2 or CpuidFeature.SYSCALL or CpuidFeature.TSC or CpuidFeature.CLFSH
            or CpuidFeature.SERIALIZE or CpuidFeature.UDBG => feature is not (CpuidFeature.SERIALIZE or CpuidFeature.UDBG or CpuidFeature.INTEL8086_ONLY),
        CpuidFeature.VMX or CpuidFeature.SVM or CpuidFeature.SMX => feature == CpuidFeature.VMX,
        CpuidFeature.ADX => _model.Has(CpuFeature.Adx),
        CpuidFeature.AES => _model.Has(CpuFeature.Aes),
        CpuidFeature.AVX => _model.Has(CpuFeature.Avx),
        CpuidFeature.AVX2 => _model.Has(CpuFeature.Avx2),
        CpuidFeature.BMI1 => _model.Has(CpuFeature.Bmi1),
        CpuidFeature.BMI2 => _model.Has(CpuFeature.Bmi2),
        CpuidFeature.CLFLUSHOPT => _model.Has(CpuFeature.ClflushOpt),
        CpuidFeature.CLWB => _model.Has(CpuFeature.Clwb),
        CpuidFeature.CMPXCHG16B => _model.Has(CpuFeature.Cx16),
        CpuidFeature.F16C => _model.Has(CpuFeature.F16c),
        CpuidFeature.FMA => _model.Has(CpuFeature.Fma),
        CpuidFeature.FSGSBASE => _model.Has(CpuFeature.Fsgsbase),
        CpuidFeature.INVPCID => _model.Has(CpuFeature.Invpcid),
        CpuidFeature.LZCNT => _model.Has(CpuFeature.Lzcnt),
        CpuidFeature.MONITOR => _model.Has(CpuFeature.Monitor),
        CpuidFeature.MOVBE => _model.Has(CpuFeature.Movbe),
        CpuidFeature.PCLMULQDQ => _model.Has(CpuFeature.Pclmulqdq),
        CpuidFeature.PKU => _model.Has(CpuFeature.Pku),
        CpuidFeature.POPCNT => _model.Has(CpuFeature.Popcnt),
        CpuidFeature.PREFETCHW => true,
        CpuidFeature.RDPID => _model.Has(CpuFeature.Rdpid),
        CpuidFeature.RDRAND => _model.Has(CpuFeature.Rdrand),
        CpuidFeature.RDSEED => _model.Has(CpuFeature.Rdseed),
        CpuidFeature.RDTSCP => _model.Has(CpuFeature.Rdtscp),
        CpuidFeature.SHA => _model.Has(CpuFeature.Sha),
        CpuidFeature.SMAP => _model.Has(CpuFeature.Smap),
        CpuidFeature.SSE3 => _model.Has(CpuFeature.Sse3),
        CpuidFeature.SSSE3 => _model.Has(CpuFeature.Ssse3),
        CpuidFeature.SSE4_1 => _model.Has(CpuFeature.Sse41),
        CpuidFeature.SSE4_2 => _model.Has(CpuFeature.Sse42),
        CpuidFeature.VAES or CpuidFeature.VPCLMULQDQ => false,
        CpuidFeature.XSAVE => _model.Has(CpuFeature.Xsave),
        CpuidFeature.XSAVEC => _model.Has(CpuFeature.XsaveC),
        CpuidFeature.XSAVEOPT => _model.Has(CpuFeature.XsaveOpt),
        CpuidFeature.XSAVES => _model.Has(CpuFeature.Xsaves),
        CpuidFeature.WBNOINVD => true,
        _ => false,
    };
}
