// The Linux/x86 boot protocol, "The real-mode kernel header" (Documentation/arch/x86/boot.rst).
using System.Buffers.Binary;
using static Vmm.Core.Boot.LinuxSpec;

namespace Vmm.Core.Boot;

/// <summary>A bzImage's setup header, checked as far as it can be without a machine.</summary>
internal sealed class BzImage
{
    private BzImage(BootImage image) => Image = image;

    public BootImage Image { get; }

    /// <summary>The header's bytes, from <see cref="SetupHeader"/> on.</summary>
    public ReadOnlyMemory<byte> SetupHeaderBytes { get; private init; }

    /// <summary>The protected-mode code.</summary>
    public ReadOnlyMemory<byte> Code { get; private init; }

    public bool Is64Bit { get; private init; }

    public bool IsRelocatable { get; private init; }

    public ulong PreferredAddress { get; private init; }

    public ulong Alignment { get; private init; }

    /// <summary>The least alignment that a loader may choose by writing it into the header; zero if the header's is no power of two.</summary>
    public ulong MinimumAlignment { get; private init; }

    /// <summary>Bytes that the kernel takes from its start before it reads the memory map.</summary>
    public ulong RunSize { get; private init; }

    public uint InitrdMax { get; private init; }

    public uint CommandLineMax { get; private init; }

    /// <summary>Whether the bytes claim to be a Linux/x86 kernel with a setup header.</summary>
    public static bool IsMatch(ReadOnlySpan<byte> bytes) =>
        bytes.Length >= ProtocolVersion + 2
        && BinaryPrimitives.ReadUInt16LittleEndian(bytes[BootFlag..]) == BootFlagMagic
        && BinaryPrimitives.ReadUInt32LittleEndian(bytes[Header..]) == HeaderMagic;

    /// <summary>Reads and checks a header.</summary>
    /// <exception cref="Errors.BootImageException">A field that the rest depends on is wrong.</exception>
    public static BzImage Parse(BootImage image)
    {
        if (image.U16(BootFlag, "boot_flag") != BootFlagMagic) throw image.Error("boot_flag at 0x1fe", "it is not 0xaa55, so this is no bzImage; give the file that arch/x86/boot/bzImage was built to, or /boot/vmlinuz.");
        if (image.U32(Header, "header") != HeaderMagic) throw image.Error("header at 0x202", "the magic \"HdrS\" is missing, so this is no bzImage; give the file that arch/x86/boot/bzImage was built to, or /boot/vmlinuz.");
        var version = image.U16(ProtocolVersion, "version");
        if (version < OldestVersion) throw image.Error("version at 0x206", $"boot protocol {version >> 8}.{version & 0xFF:d2} is older than 2.10, the oldest supported; use Linux 2.6.31 or newer.");
        if ((image.U8(LoadFlags, "loadflags") & LoadedHigh) == 0) throw image.Error("loadflags at 0x211", "LOADED_HIGH is clear: a zImage, which loads below 1 MiB, is not supported; build a bzImage.");

        // The jump's displacement tells where the header ends.
        var headerEnd = Header + image.U8(Jump + 1, "jump");
        if (headerEnd < HeaderEnd210) throw image.Error("jump at 0x200", $"the setup header ends at 0x{headerEnd:x}, but protocol {version >> 8}.{version & 0xFF:d2} has fields up to 0x{HeaderEnd210:x}; the file is damaged, get it again.");
        headerEnd = Math.Min(headerEnd, HeaderEndMax);

        var setupSectors = image.U8(SetupSects, "setup_sects") is var n && n == 0 ? DefaultSetupSects : n;
        var codeOffset = (ulong)(setupSectors + 1) * SectorSize;
        if (codeOffset >= image.Length) throw image.Error("setup_sects at 0x1f1", $"the protected-mode code would start at 0x{codeOffset:x}, but the file has only 0x{image.Length:x} bytes; the file is truncated or damaged, get it again.");
        var sysSize = (ulong)image.U32(SysSize, "syssize") * Paragraph;
        var present = image.Length - codeOffset;
        if (sysSize == 0) throw image.Error("syssize at 0x1f4", "it is zero: there is no protected-mode code; the file is damaged, get it again.");
        // The last paragraph need not be whole.
        if (sysSize > (present + Paragraph - 1) / Paragraph * Paragraph) throw image.Error("syssize at 0x1f4", $"it says 0x{sysSize:x} bytes of protected-mode code, but only 0x{present:x} follow the setup code; the file is truncated or damaged, get it again.");
        var code = image.Slice(codeOffset, Math.Min(sysSize, present), "syssize");

        var is64Bit = version >= XLoadFlagsVersion && (image.U16(XLoadFlags, "xloadflags") & XlfKernel64) != 0;
        if (is64Bit && (ulong)code.Length <= Entry64) throw image.Error("xloadflags at 0x236", $"XLF_KERNEL_64 promises an entry point at 0x{Entry64:x} of code that has 0x{code.Length:x} bytes; the file is damaged, get it again.");

        var relocatable = image.U8(RelocatableKernel, "relocatable_kernel") != 0;
        ulong alignment = image.U32(KernelAlignment, "kernel_alignment");
        if (relocatable && !ulong.IsPow2(alignment)) throw image.Error("kernel_alignment at 0x230", $"0x{alignment:x} is no power of two; the file is damaged, get it again.");
        var minimum = image.U8(MinAlignment, "min_alignment");
        var preferred = image.U64(PrefAddress, "pref_address");
        var cmdline = image.U32(CmdlineSize, "cmdline_size");
        return new BzImage(image)
        {
            SetupHeaderBytes = image.Slice(SetupHeader, (ulong)(headerEnd - SetupHeader), "jump"),
            Code = code,
            Is64Bit = is64Bit,
            IsRelocatable = relocatable,
            PreferredAddress = preferred == 0 ? HighMemory : preferred,
            Alignment = relocatable ? alignment : 1,
            MinimumAlignment = minimum is >= 12 and < 32 ? 1UL << minimum : 0,
            RunSize = Math.Max(image.U32(InitSize, "init_size"), (ulong)code.Length),
            InitrdMax = image.U32(InitrdAddrMax, "initrd_addr_max"),
            CommandLineMax = cmdline == 0 ? DefaultCmdlineSize : cmdline,
        };
    }
}
