namespace Vmm.Backends.Software.Cpu;

/// <summary>
/// What, beside the bytes, decides how code is decoded: six bits that are part of every block's key. Whoever changes CS,
/// CPL, CR0, CR4, EFER, XCR0, TF or DR7 calls <see cref="Vcpu.UpdateMode"/>.
/// </summary>
internal static class CpuMode
{
    /// <summary>Widths of code. None is zero, so no key of a block is.</summary>
    public const uint Code32 = 1, Code64 = 2, Code16 = 3, CodeMask = 3;

    /// <summary>CPL is 3: fetches are user accesses.</summary>
    public const uint User = 4;

    /// <summary>One instruction a block, with debug checks after each.</summary>
    public const uint Step = 8;

    /// <summary>SSE instructions run (CR0.EM = 0, CR0.TS = 0, CR4.OSFXSR = 1); else they are bound to the handler that faults.</summary>
    public const uint Sse = 16;

    /// <summary>AVX instructions run (as above, with CR4.OSXSAVE = 1 and XCR0[2:1] = 3).</summary>
    public const uint Avx = 32;

    public const int Bits = 6;
}
