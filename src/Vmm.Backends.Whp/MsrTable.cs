// Intel SDM vol. 4: the model-specific registers of a saved state, and how the platform has them.
using System.Collections.Immutable;
using Vmm.Backends.Whp.Interop;
using static Vmm.Backends.Whp.Interop.WHV_REGISTER_NAME;

namespace Vmm.Backends.Whp;

/// <summary>Which MSRs are registers of the platform, and which ones the backend holds because their accesses come as exits.</summary>
internal static class MsrTable
{
    /// <summary>MSR and platform register. Not every host has all of them.</summary>
    public static ImmutableArray<(uint Msr, WHV_REGISTER_NAME Name)> Native { get; } = MakeNative();

    /// <summary>MSRs that only hold what was written: number, value after reset, writable bits.</summary>
    public static ImmutableArray<(uint Msr, ulong Reset, ulong Writable)> Held { get; } =
    [
        (0x3A, 1, 0), // feature control: locked
        (0x48, 0, 7), // speculation control, where it is no register of the platform
        (0x8B, 0xFFFFFFFFUL << 32, 0), // microcode
        (0xCE, 10UL << 8 | 10UL << 40, 0), // platform information
        (0x10A, 0, 0), // architectural capabilities: no promise is made for the host
        (0x179, 0, 0), // machine check capabilities: no banks
        (0x17A, 0, 7), // machine check status
        (0x1A0, 1, 0x0000_0004_0044_0889), // miscellaneous enables
        (0x1D9, 0, 3), // debug control
    ];

    private static ImmutableArray<(uint, WHV_REGISTER_NAME)> MakeNative()
    {
        var list = new List<(uint, WHV_REGISTER_NAME)>();
        list.AddRange([
            (0x10, WHvX64RegisterTsc), (0x3B, WHvX64RegisterTscAdjust), (0x48, WHvX64RegisterSpecCtrl), (0xFE, WHvX64RegisterMsrMtrrCap), (0x174, WHvX64RegisterSysenterCs),
            (0x175, WHvX64RegisterSysenterEsp), (0x176, WHvX64RegisterSysenterEip)]);
        for (uint i = 0; i < 8; i++)
        {
            list.Add((0x200 + 2 * i, WHvX64RegisterMsrMtrrPhysBase0 + i));
            list.Add((0x201 + 2 * i, WHvX64RegisterMsrMtrrPhysMask0 + i));
        }

        list.AddRange([(0x250, WHvX64RegisterMsrMtrrFix64k00000), (0x258, WHvX64RegisterMsrMtrrFix16k80000), (0x259, WHvX64RegisterMsrMtrrFix16kA0000)]);
        for (uint i = 0; i < 8; i++) list.Add((0x268 + i, WHvX64RegisterMsrMtrrFix4kC0000 + i));
        list.AddRange([
            (0x277, WHvX64RegisterPat), (0x2FF, WHvX64RegisterMsrMtrrDefType), (0x6E0, WHvX64RegisterTscDeadline), (0xC0000081, WHvX64RegisterStar), (0xC0000082, WHvX64RegisterLstar),
            (0xC0000083, WHvX64RegisterCstar), (0xC0000084, WHvX64RegisterSfmask), (0xC0000102, WHvX64RegisterKernelGsBase), (0xC0000103, WHvX64RegisterTscAux)]);
        return [.. list];
    }

    /// <summary>The value of a platform register after reset; null keeps what is there.</summary>
    public static ulong? ResetValue(uint msr) => msr switch
    {
        0x10 or 0xFE => null,
        0x277 => 0x0007_0406_0007_0406,
        0x2FF => 0x806,
        _ => 0,
    };
}
