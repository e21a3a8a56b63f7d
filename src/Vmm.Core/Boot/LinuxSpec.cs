// The Linux/x86 boot protocol (Documentation/arch/x86/boot.rst and zero-page.rst of the Linux kernel): names as there.
namespace Vmm.Core.Boot;

/// <summary>Offsets and values of <c>struct setup_header</c> and <c>struct boot_params</c>; both use the same offsets.</summary>
internal static class LinuxSpec
{
    public const int BootParamsSize = 0x1000;

    // struct boot_params outside the setup header.
    public const int AcpiRsdpAddr = 0x070, ExtRamdiskImage = 0x0C0, ExtRamdiskSize = 0x0C4, ExtCmdLinePtr = 0x0C8, AltMemK = 0x1E0;
    public const int E820Entries = 0x1E8, E820Table = 0x2D0, E820EntrySize = 20, E820MaxEntriesZeropage = 128;

    // struct setup_header.
    public const int SetupHeader = 0x1F1, SetupSects = 0x1F1, SysSize = 0x1F4, BootFlag = 0x1FE, Jump = 0x200, Header = 0x202, ProtocolVersion = 0x206;
    public const int RealmodeSwtch = 0x208, TypeOfLoader = 0x210, LoadFlags = 0x211, Code32Start = 0x214, RamdiskImage = 0x218, RamdiskSize = 0x21C;
    public const int CmdLinePtr = 0x228, InitrdAddrMax = 0x22C, KernelAlignment = 0x230, RelocatableKernel = 0x234, MinAlignment = 0x235;
    public const int XLoadFlags = 0x236, CmdlineSize = 0x238, HardwareSubarch = 0x23C, SetupData = 0x250, PrefAddress = 0x258, InitSize = 0x260;

    /// <summary>The end of init_size: what a header of protocol 2.10 holds at least.</summary>
    public const int HeaderEnd210 = 0x264;

    /// <summary>Where the setup header of boot_params must end: edd_mbr_sig_buffer follows.</summary>
    public const int HeaderEndMax = 0x290;

    public const ushort BootFlagMagic = 0xAA55;
    public const uint HeaderMagic = 0x53726448; // "HdrS"
    public const ushort OldestVersion = 0x020A, XLoadFlagsVersion = 0x020C;
    public const byte LoaderUndefined = 0xFF;
    public const byte LoadedHigh = 1 << 0, KaslrFlag = 1 << 1, QuietFlag = 1 << 5, KeepSegments = 1 << 6, CanUseHeap = 1 << 7;
    public const ushort XlfKernel64 = 1 << 0;
    public const uint SetupE820Ext = 1;
    public const int SetupDataHeader = 16, SectorSize = 512, DefaultSetupSects = 4, Paragraph = 16;

    /// <summary>The command line limit where the header says zero.</summary>
    public const uint DefaultCmdlineSize = 255;

    /// <summary>COMMAND_LINE_SIZE of x86 less its terminator: the limit of a vmlinux, which has no header to say.</summary>
    public const uint VmlinuxCmdlineSize = 2047;

    /// <summary>The initrd limit of a vmlinux: what every bzImage of the last fifteen years says.</summary>
    public const uint VmlinuxInitrdAddrMax = 0x7FFFFFFF;

    /// <summary>CONFIG_PHYSICAL_ALIGN as kernels are configured.</summary>
    public const uint VmlinuxAlignment = 0x1000000;

    /// <summary>The 64-bit entry point, from the start of the protected-mode code.</summary>
    public const uint Entry64 = 0x200;

    /// <summary>__BOOT_CS and __BOOT_DS.</summary>
    public const ushort BootCs = 0x10, BootDs = 0x18;

    /// <summary>Kernels run at 1 MiB and up.</summary>
    public const ulong HighMemory = 1 << 20;
}
