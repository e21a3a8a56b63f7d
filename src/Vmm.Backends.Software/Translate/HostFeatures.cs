using System.Runtime.Intrinsics.X86;
using Iced.Intel;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// What the host's processor has, asked of the processor itself: code compiled ahead of time is told of no more than it was compiled
/// for, and that is seldom AVX2 (Intel SDM vol. 2: CPUID; vol. 1, 14.3: detection of AVX).
/// </summary>
internal static unsafe class HostFeatures
{
    private static readonly int s_basic = X86Base.X64.IsSupported ? X86Base.CpuId(1, 0).Ecx : 0;
    private static readonly int s_structured = X86Base.X64.IsSupported && X86Base.CpuId(0, 0).Eax >= 7 ? X86Base.CpuId(7, 0).Ebx : 0;
    private static readonly int s_extended = X86Base.X64.IsSupported ? X86Base.CpuId(unchecked((int)0x8000_0001), 0).Ecx : 0;
    private static readonly bool s_keepsYmm = Avx.IsSupported || SystemKeepsYmm();

    /// <summary>Whether the time-stamp counter runs at one rate whatever the processor does.</summary>
    public static bool HasSteadyCounter { get; } = X86Base.X64.IsSupported && X86Base.CpuId(unchecked((int)0x8000_0000), 0).Eax >= unchecked((int)0x8000_0007)
        && Bit(X86Base.CpuId(unchecked((int)0x8000_0007), 0).Edx, 8);

    /// <summary>Whether instructions of a feature can be run.</summary>
    public static bool Has(CpuidFeature feature) => feature switch
    {
        CpuidFeature.INTEL8086 or CpuidFeature.INTEL8086_ONLY or CpuidFeature.INTEL186 or CpuidFeature.INTEL286 or CpuidFeature.INTEL386 or CpuidFeature.INTEL486 or CpuidFeature.X64
            or CpuidFeature.CMOV or CpuidFeature.SSE or CpuidFeature.SSE2 => true,
        CpuidFeature.SSE3 => Bit(s_basic, 0),
        CpuidFeature.PCLMULQDQ => Bit(s_basic, 1),
        CpuidFeature.SSSE3 => Bit(s_basic, 9),
        CpuidFeature.FMA => Bit(s_basic, 12) && s_keepsYmm,
        CpuidFeature.SSE4_1 => Bit(s_basic, 19),
        CpuidFeature.SSE4_2 => Bit(s_basic, 20),
        CpuidFeature.POPCNT => Bit(s_basic, 23),
        CpuidFeature.AES => Bit(s_basic, 25),
        CpuidFeature.AVX => Bit(s_basic, 28) && s_keepsYmm,
        CpuidFeature.F16C => Bit(s_basic, 29) && s_keepsYmm,
        CpuidFeature.BMI1 => Bit(s_structured, 3),
        CpuidFeature.AVX2 => Bit(s_structured, 5) && s_keepsYmm,
        CpuidFeature.BMI2 => Bit(s_structured, 8),
        CpuidFeature.ADX => Bit(s_structured, 19),
        CpuidFeature.SHA => Bit(s_structured, 29),
        CpuidFeature.LZCNT => Bit(s_extended, 5),
        _ => false,
    };

    private static bool Bit(int word, int bit) => (word >> bit & 1) != 0;

    // XCR0 says whether the operating system keeps YMM registers. C# has no XGETBV, but here is where machine code is made.
    private static bool SystemKeepsYmm()
    {
        const int osXsave = 27;
        if (!Bit(s_basic, osXsave) || CodeMemory.TryCreate() is not { } memory) return false;
        using (memory)
        {
            ReadOnlySpan<byte> code = [0x31, 0xC9, 0x0F, 0x01, 0xD0, 0xC3]; // xor ecx, ecx; xgetbv; ret
            // SAFETY: the memory is larger than six bytes, and the code keeps what a callee must keep.
            code.CopyTo(new Span<byte>(memory.Bytes, code.Length));
            return (((delegate* unmanaged<uint>)memory.Address(0))() & 6) == 6;
        }
    }
}
