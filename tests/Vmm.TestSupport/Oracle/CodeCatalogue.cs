using System.Collections.Immutable;
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>
/// Every instruction form of the CPU model (x86-64-v3 with AES, PCLMULQDQ, SHA, ADX, RDRAND, RDSEED, FSGSBASE, RDPID and the XSAVE family)
/// that Iced decodes in 64-bit mode, and how each can be compared with the host CPU. Privileged forms are compared too: at CPL 3 they fault.
/// </summary>
public static class CodeCatalogue
{
    private static readonly ImmutableHashSet<CpuidFeature> s_features =
    [
        CpuidFeature.INTEL8086, CpuidFeature.INTEL186, CpuidFeature.INTEL286, CpuidFeature.INTEL386, CpuidFeature.INTEL486, CpuidFeature.X64,
        CpuidFeature.ADX, CpuidFeature.AES, CpuidFeature.AVX, CpuidFeature.AVX2, CpuidFeature.BMI1, CpuidFeature.BMI2,
        CpuidFeature.CLFLUSHOPT, CpuidFeature.CLFSH, CpuidFeature.CLWB, CpuidFeature.CMOV, CpuidFeature.CMPXCHG16B, CpuidFeature.CPUID,
        CpuidFeature.CX8, CpuidFeature.F16C, CpuidFeature.FMA, CpuidFeature.FPU, CpuidFeature.FPU287, CpuidFeature.FPU387,
        CpuidFeature.FSGSBASE, CpuidFeature.FXSR, CpuidFeature.INVPCID, CpuidFeature.LZCNT, CpuidFeature.MMX, CpuidFeature.MOVBE,
        CpuidFeature.MSR, CpuidFeature.MULTIBYTENOP, CpuidFeature.PAUSE, CpuidFeature.PCLMULQDQ, CpuidFeature.POPCNT,
        CpuidFeature.PREFETCHW, CpuidFeature.RDPID, CpuidFeature.RDRAND, CpuidFeature.RDSEED, CpuidFeature.RDTSCP, CpuidFeature.SEP,
        CpuidFeature.SHA, CpuidFeature.SMAP, CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.SSE3, CpuidFeature.SSE4_1,
        CpuidFeature.SSE4_2, CpuidFeature.SSSE3, CpuidFeature.SYSCALL, CpuidFeature.TSC, CpuidFeature.XSAVE, CpuidFeature.XSAVEC,
        CpuidFeature.XSAVEOPT, CpuidFeature.XSAVES, CpuidFeature.CET_IBT, CpuidFeature.CET_SS,
    ];

    /// <summary>All forms, in Iced's order.</summary>
    public static ImmutableArray<CatalogueEntry> All { get; } = [.. Enum.GetValues<Code>().Where(IsOfModel).Select(Classify)];

    /// <summary>The forms that are compared, in Iced's order.</summary>
    public static ImmutableArray<CatalogueEntry> Comparable { get; } = [.. All.Where(e => e.Comparability != Comparability.None)];

    private static readonly ImmutableDictionary<Code, CatalogueEntry> s_byCode = All.ToImmutableDictionary(e => e.Code);

    /// <summary>The entry of <paramref name="code"/>; false if it does not belong to the CPU model.</summary>
    public static bool TryGet(Code code, out CatalogueEntry entry) => s_byCode.TryGetValue(code, out entry);

    private static bool IsOfModel(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        return info.IsInstruction && info.Mode64 && info.Encoding is EncodingKind.Legacy or EncodingKind.VEX && info.Mode64
            && info.DecoderOption == DecoderOptions.None && code.CpuidFeatures().All(s_features.Contains);
    }

    private static CatalogueEntry Classify(Code code)
    {
        string? reason = ReasonAgainst(code, code.ToOpCode());
        if (reason is not null)
        {
            return new CatalogueEntry(code, Comparability.None, reason);
        }

        return IsApproximate(code.Mnemonic())
            ? new CatalogueEntry(code, Comparability.Approximate, "an approximation whose last bits the vendor chooses")
            : new CatalogueEntry(code, Comparability.Exact, "");
    }

    private static bool IsApproximate(Mnemonic m) => m is
        Mnemonic.Rcpps or Mnemonic.Rcpss or Mnemonic.Rsqrtps or Mnemonic.Rsqrtss
        or Mnemonic.Vrcpps or Mnemonic.Vrcpss or Mnemonic.Vrsqrtps or Mnemonic.Vrsqrtss
        or Mnemonic.F2xm1 or Mnemonic.Fyl2x or Mnemonic.Fyl2xp1 or Mnemonic.Fptan or Mnemonic.Fpatan or Mnemonic.Fsin or Mnemonic.Fcos or Mnemonic.Fsincos;

    private static string? ReasonAgainst(Code code, OpCodeInfo info)
    {
        if (!info.IntelDecoder64 || !info.AmdDecoder64)
        {
            return "Intel and AMD decode it differently";
        }

        switch (code)
        {
            case Code.Bswap_r16:
                return "the result is undefined";
            case Code.Fstenv_m14byte or Code.Fstenv_m28byte or Code.Fsave_m94byte or Code.Fsave_m108byte or Code.Fstcw_m2byte
                or Code.Fstsw_m2byte or Code.Fstsw_AX or Code.Fclex or Code.Finit or Code.Feni or Code.Fdisi or Code.Fsetpm:
                return "two instructions (FWAIT and the no-wait form)";
            case Code.Reservednop_rm16_r16_0F0D or Code.Reservednop_rm32_r32_0F0D or Code.Reservednop_rm64_r64_0F0D:
                return "NOP on Intel, #UD on AMD";
            case Code.Movsxd_r16_rm16:
                return "the source size differs between vendors";
        }

        switch (code.Mnemonic())
        {
            case Mnemonic.Syscall or Mnemonic.Sysenter:
                return "enters the host kernel";
            case Mnemonic.Cpuid or Mnemonic.Xgetbv or Mnemonic.Rdpid:
                return "identifies the host CPU";
            case Mnemonic.Rdtsc or Mnemonic.Rdtscp or Mnemonic.Rdrand or Mnemonic.Rdseed:
                return "the result differs from run to run";
            case Mnemonic.Rdfsbase or Mnemonic.Rdgsbase or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase:
                return "the FS and GS bases are the host thread's";
            case Mnemonic.Lar or Mnemonic.Lsl or Mnemonic.Verr or Mnemonic.Verw:
                return "reads the host's descriptor tables";
            case Mnemonic.Sgdt or Mnemonic.Sidt or Mnemonic.Sldt or Mnemonic.Smsw or Mnemonic.Str:
                return "the host kernel intercepts it (UMIP)";
            case Mnemonic.Xsaves or Mnemonic.Xsaves64 or Mnemonic.Xrstors or Mnemonic.Xrstors64:
                return "supervisor state is not in the CPU model";
            case Mnemonic.Lss or Mnemonic.Lfs or Mnemonic.Lgs:
                return "writes a segment register of the host thread";
            case Mnemonic.Xsaveopt or Mnemonic.Xsaveopt64:
                return "what it leaves out depends on the CPU's tracking";
            case Mnemonic.Monitor or Mnemonic.Mwait or Mnemonic.Invlpg or Mnemonic.Sysexit or Mnemonic.Sysexitq:
                return "the fault at CPL 3 differs between vendors";
            case Mnemonic.Rstorssp or Mnemonic.Setssbsy or Mnemonic.Saveprevssp or Mnemonic.Incsspd or Mnemonic.Incsspq or Mnemonic.Clrssbsy
                or Mnemonic.Wrussd or Mnemonic.Wrussq or Mnemonic.Wrssd or Mnemonic.Wrssq:
                return "shadow stacks are not in the CPU model";
            case Mnemonic.Retf or Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq:
                return "far control transfer";
            case Mnemonic.Int or Mnemonic.Int3 or Mnemonic.Int1:
                return "a trap through the IDT, which is the host kernel's";
        }

        for (int i = 0; i < info.OpCount; i++)
        {
            OpCodeOperandKind kind = info.GetOpKind(i);
            if (kind is OpCodeOperandKind.farbr2_2 or OpCodeOperandKind.farbr4_2)
            {
                return "far control transfer";
            }

            if (i == 0 && kind is OpCodeOperandKind.seg_reg or OpCodeOperandKind.fs or OpCodeOperandKind.gs && code.Mnemonic() is Mnemonic.Mov or Mnemonic.Pop)
            {
                return "writes a segment register of the host thread";
            }
        }

        return code is Code.Call_m1616 or Code.Call_m1632 or Code.Call_m1664 or Code.Jmp_m1616 or Code.Jmp_m1632 or Code.Jmp_m1664
            ? "far control transfer"
            : null;
    }
}
