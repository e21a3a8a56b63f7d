// The PVH boot ABI (Xen docs/misc/pvh.pandoc; xen/include/public/arch-x86/hvm/start_info.h): names as there.
namespace Vmm.Core.Boot;

/// <summary>Layout of <c>struct hvm_start_info</c> version 1 and what it points to.</summary>
internal static class PvhSpec
{
    public const uint XenElfNotePhys32Entry = 18;
    public const uint HvmStartMagicValue = 0x336EC578, StartInfoVersion = 1;

    // struct hvm_start_info.
    public const int Magic = 0, InfoVersion = 4, Flags = 8, NrModules = 12, ModlistPaddr = 16, CmdlinePaddr = 24, RsdpPaddr = 32, MemmapPaddr = 40, MemmapEntries = 48;
    public const int StartInfoSize = 56;

    // struct hvm_modlist_entry.
    public const int ModulePaddr = 0, ModuleSize = 8, ModuleCmdlinePaddr = 16, ModlistEntrySize = 32;

    // struct hvm_memmap_table_entry; its types are those of E820.
    public const int MemmapAddr = 0, MemmapSize = 8, MemmapType = 16, MemmapEntrySize = 24;

    /// <summary>The owner of Xen's notes.</summary>
    public static ReadOnlySpan<byte> NoteOwner => "Xen"u8;
}
