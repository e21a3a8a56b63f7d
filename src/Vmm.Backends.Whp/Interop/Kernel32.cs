// sysinfoapi.h: GetProductInfo, and the product types of Windows Home in winnt.h.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Whp.Interop;

/// <summary>The Win32 call that tells which edition of Windows this is.</summary>
internal static partial class Kernel32
{
    private const uint PRODUCT_CORE_N = 0x62, PRODUCT_CORE = 0x65;

    /// <summary>Whether this is a Home edition (Core, Core N, country-specific or single-language). On Windows only.</summary>
    public static bool IsHomeEdition() => GetProductInfo(10, 0, 0, 0, out var product) != 0 && product is >= PRODUCT_CORE_N and <= PRODUCT_CORE;

    [LibraryImport("kernel32")]
    private static partial int GetProductInfo(uint major, uint minor, uint servicePackMajor, uint servicePackMinor, out uint product);
}
