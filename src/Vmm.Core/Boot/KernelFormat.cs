// Magic numbers of what people hand to a kernel option, each from its own format's specification.
using System.Buffers.Binary;

namespace Vmm.Core.Boot;

/// <summary>Tells what a file is that was given as a kernel.</summary>
internal static class KernelFormat
{
    private const int ArchMagicOffset = 0x38;

    /// <summary>Chooses the loader for a kernel by its contents. What cannot be booted gets a loader that says what was found.</summary>
    public static IBootLoader Choose(string name, ReadOnlyMemory<byte> kernel, Func<Kind, IBootLoader> make, bool preferPvh)
    {
        var bytes = kernel.Span;
        if (BzImage.IsMatch(bytes)) return make(Kind.Linux);
        if (MultibootBoot.FindHeader(bytes) is var header and >= 0 && IsMultiboot(bytes, header)) return make(Kind.Multiboot);
        if (ElfImage.Identify(bytes) is { Bits: > 0 } elf)
        {
            // A 32-bit ELF file without a Multiboot header has only PVH left.
            if (elf is { Machine: ElfImage.EmX8664, Bits: 64 }) return make(preferPvh && HasPvhEntry(name, kernel) ? Kind.Pvh : Kind.Linux);
            if (elf.Machine is ElfImage.EmI386 or ElfImage.EmX8664) return make(Kind.Pvh);
            return new RefusedBoot(name, "e_machine at 18", $"this is an ELF file for {Machine(elf.Machine)}, not for x86; give an x86-64 kernel.");
        }

        return new RefusedBoot(name, "offset 0", $"{Describe(bytes)} A kernel is a bzImage (such as /boot/vmlinuz on Debian), an ELF vmlinux, or a Multiboot 1 image.");
    }

    /// <summary>The protocols that a kernel may be booted by.</summary>
    internal enum Kind
    {
        Linux,
        Pvh,
        Multiboot,
    }

    // A 64-bit ELF file may carry a header for loaders that take it; one without address fields cannot be entered by it.
    private static bool IsMultiboot(ReadOnlySpan<byte> bytes, int header) =>
        (BinaryPrimitives.ReadUInt32LittleEndian(bytes[(header + MultibootSpec.Flags)..]) & MultibootSpec.AoutKludge) != 0
        || ElfImage.Identify(bytes) is { Bits: 32 };

    private static bool HasPvhEntry(string name, ReadOnlyMemory<byte> kernel)
    {
        try
        {
            return PvhBoot.FindEntry(ElfImage.Parse(new BootImage(name, kernel))) is not null;
        }
        catch (Errors.BootImageException)
        {
            // The loader that is chosen instead tells of the damage.
            return false;
        }
    }

    private static string Describe(ReadOnlySpan<byte> b)
    {
        if (b.IsEmpty) return "The file is empty.";
        if (At(b, ArchMagicOffset, "ARM\x64"u8)) return "This is an arm64 Image; give an x86-64 kernel.";
        if (At(b, ArchMagicOffset, "RSC\x05"u8)) return "This is a RISC-V Image; give an x86-64 kernel.";
        if (At(b, 0, [0x1F, 0x8B])) return "This is gzip data (a compressed Image, or an initrd); decompress it if it is an ELF vmlinux.";
        if (At(b, 0, [0x28, 0xB5, 0x2F, 0xFD])) return "This is zstd data; decompress it if it is an ELF vmlinux.";
        if (At(b, 0, [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0])) return "This is xz data; decompress it if it is an ELF vmlinux.";
        if (At(b, 0, [0x02, 0x21, 0x4C, 0x18]) || At(b, 0, [0x04, 0x22, 0x4D, 0x18])) return "This is lz4 data; decompress it if it is an ELF vmlinux.";
        if (At(b, 0, "BZh"u8)) return "This is bzip2 data; decompress it if it is an ELF vmlinux.";
        if (At(b, 0, [0x27, 0x05, 0x19, 0x56])) return "This is a U-Boot uImage; give the kernel inside it.";
        if (At(b, 0, [0xD0, 0x0D, 0xFE, 0xED])) return "This is a device tree or FIT image; give the kernel inside it.";
        if (At(b, 0, "070701"u8) || At(b, 0, "070702"u8)) return "This is a cpio archive, so an initrd; give it as the initrd.";
        if (At(b, 0, [(byte)'Q', (byte)'F', (byte)'I', 0xFB])) return "This is a qcow2 disk image; take the kernel out of it.";
        if (At(b, 0, "MZ"u8)) return "This is a PE file (an EFI application, or an EFI unified kernel image) without a Linux/x86 setup header; give the plain bzImage.";
        if (At(b, 0x8001, "CD001"u8)) return "This is an ISO 9660 image; take the kernel out of it.";
        if (FindMultiboot2(b)) return "This is a Multiboot 2 image, which is not supported; build it with a Multiboot 1 header.";
        if (At(b, LinuxSpec.BootFlag, [0x55, 0xAA])) return "This is a boot sector or disk image; run it as firmware would, or take the kernel out of it.";
        return $"The file starts with {Convert.ToHexStringLower(b[..Math.Min(b.Length, 8)])}, which is no known kernel format.";
    }

    private static bool FindMultiboot2(ReadOnlySpan<byte> b)
    {
        // Multiboot2 header magic, at a multiple of 8 in the first 32768 bytes.
        for (var at = 0; at <= Math.Min(b.Length, 32768) - 4; at += 8)
        {
            if (BinaryPrimitives.ReadUInt32LittleEndian(b[at..]) == 0xE85250D6) return true;
        }

        return false;
    }

    private static bool At(ReadOnlySpan<byte> b, int offset, ReadOnlySpan<byte> magic) => b.Length >= offset && b[offset..].StartsWith(magic);

    private static string Machine(ushort machine) => machine switch
    {
        8 => "MIPS",
        20 => "PowerPC",
        21 => "64-bit PowerPC",
        22 => "S/390",
        40 => "32-bit Arm",
        183 => "64-bit Arm (aarch64)",
        243 => "RISC-V",
        258 => "LoongArch",
        _ => $"machine {machine}",
    };
}
