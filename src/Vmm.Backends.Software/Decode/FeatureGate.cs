using Iced.Intel;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Decode;

/// <summary>Which instructions the guest's CPU model has; the others are undefined opcodes.</summary>
/// <param name="model">The model.</param>
internal sealed class FeatureGate(CpuModel model)
{
    private readonly sbyte[] _known = new sbyte[IcedConstants_CodeCount];

    private static int IcedConstants_CodeCount => Enum.GetValues<Code>().Length;

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
        CpuidFeature.ADX => model.Has(CpuFeature.Adx),
        CpuidFeature.AES => model.Has(CpuFeature.Aes),
        CpuidFeature.AVX => model.Has(CpuFeature.Avx),
        CpuidFeature.AVX2 => model.Has(CpuFeature.Avx2),
        CpuidFeature.BMI1 => model.Has(CpuFeature.Bmi1),
        CpuidFeature.BMI2 => model.Has(CpuFeature.Bmi2),
        CpuidFeature.CLFLUSHOPT => model.Has(CpuFeature.ClflushOpt),
        CpuidFeature.CLWB => model.Has(CpuFeature.Clwb),
        CpuidFeature.CMPXCHG16B => model.Has(CpuFeature.Cx16),
        CpuidFeature.F16C => model.Has(CpuFeature.F16c),
        CpuidFeature.FMA => model.Has(CpuFeature.Fma),
        CpuidFeature.FSGSBASE => model.Has(CpuFeature.Fsgsbase),
        CpuidFeature.INVPCID => model.Has(CpuFeature.Invpcid),
        CpuidFeature.LZCNT => model.Has(CpuFeature.Lzcnt),
        CpuidFeature.MONITOR => model.Has(CpuFeature.Monitor),
        CpuidFeature.MOVBE => model.Has(CpuFeature.Movbe),
        CpuidFeature.PCLMULQDQ => model.Has(CpuFeature.Pclmulqdq),
        CpuidFeature.PKU => model.Has(CpuFeature.Pku),
        CpuidFeature.POPCNT => model.Has(CpuFeature.Popcnt),
        CpuidFeature.PREFETCHW => true,
        CpuidFeature.RDPID => model.Has(CpuFeature.Rdpid),
        CpuidFeature.RDRAND => model.Has(CpuFeature.Rdrand),
        CpuidFeature.RDSEED => model.Has(CpuFeature.Rdseed),
        CpuidFeature.RDTSCP => model.Has(CpuFeature.Rdtscp),
        CpuidFeature.SHA => model.Has(CpuFeature.Sha),
        CpuidFeature.SMAP => model.Has(CpuFeature.Smap),
        CpuidFeature.SSE3 => model.Has(CpuFeature.Sse3),
        CpuidFeature.SSSE3 => model.Has(CpuFeature.Ssse3),
        CpuidFeature.SSE4_1 => model.Has(CpuFeature.Sse41),
        CpuidFeature.SSE4_2 => model.Has(CpuFeature.Sse42),
        CpuidFeature.VAES or CpuidFeature.VPCLMULQDQ => false,
        CpuidFeature.XSAVE => model.Has(CpuFeature.Xsave),
        CpuidFeature.XSAVEC => model.Has(CpuFeature.XsaveC),
        CpuidFeature.XSAVEOPT => model.Has(CpuFeature.XsaveOpt),
        CpuidFeature.XSAVES => model.Has(CpuFeature.Xsaves),
        CpuidFeature.WBNOINVD => true,
        _ => false,
    };
}
