// The Multiboot Specification version 0.6.96 (GNU GRUB): names as there.
namespace Vmm.Core.Boot;

/// <summary>Layout of the Multiboot 1 header and information structure.</summary>
internal static class MultibootSpec
{
    public const uint HeaderMagic = 0x1BADB002, BootloaderMagic = 0x2BADB002;

    /// <summary>The header lies in the first 8192 bytes, at a multiple of 4.</summary>
    public const int SearchLength = 8192, HeaderAlign = 4;

    // Header fields, and bits of its flags.
    public const int Magic = 0, Flags = 4, Checksum = 8, HeaderAddr = 12, LoadAddr = 16, LoadEndAddr = 20, BssEndAddr = 24, EntryAddr = 28;
    public const int MagicFieldsSize = 12, AddressFieldsEnd = 32;
    public const uint PageAlign = 1 << 0, MemoryInfo = 1 << 1, VideoMode = 1 << 2, AoutKludge = 1 << 16;

    /// <summary>The flags that a loader must understand or refuse.</summary>
    public const uint RequiredMask = 0xFFFF;

    // Information structure, and bits of its flags.
    public const int InfoFlags = 0, MemLower = 4, MemUpper = 8, Cmdline = 16, ModsCount = 20, ModsAddr = 24, MmapLength = 44, MmapAddr = 48, BootLoaderName = 64;

    /// <summary>Up to and with the framebuffer fields, which stay zero, as their flag does.</summary>
    public const int InfoSize = 116;
    public const uint InfoMemory = 1 << 0, InfoCmdline = 1 << 2, InfoMods = 1 << 3, InfoMemMap = 1 << 6, InfoBootLoaderName = 1 << 9;

    // Module structure.
    public const int ModStart = 0, ModEnd = 4, ModString = 8, ModSize = 16;

    // Memory map entry: its size field does not count itself.
    public const int MmapSize = 0, MmapBase = 4, MmapLen = 12, MmapType = 20, MmapEntrySize = 24;
}
