// The bzImage setup header: Linux Documentation/arch/x86/boot.rst, fields setup_sects, payload_offset and payload_length.
using System.Buffers.Binary;
using System.IO.Compression;
using Vmm.Core.Errors;
using Vmm.Guests.Compression;

namespace Vmm.Guests.Kernels;

/// <summary>
/// Gets the ELF vmlinux out of a bzImage, so that a guest need not unpack it by itself. The image is untrusted: every offset
/// is checked and the output bounded. All members are thread-safe.
/// </summary>
public static class VmlinuxExtractor
{
    /// <summary>Most bytes unpacked unless the caller says otherwise: 512 MiB. Distribution kernels have 40 to 90 MB.</summary>
    public const int DefaultMaximumSize = 512 << 20;

    private const int SetupSectors = 0x1F1, HeaderMagic = 0x202, Version = 0x206, PayloadOffset = 0x248, PayloadLength = 0x24C;
    private const int SectorSize = 512, DefaultSetupSectors = 4, FirstVersionWithPayload = 0x208;
    private const int ElfHeaderSize = 64, ElfProgramHeaderSize = 56, ElfMachineX64 = 62, ElfLoad = 1;

    private static ReadOnlySpan<byte> ElfMagic => [0x7F, (byte)'E', (byte)'L', (byte)'F'];

    /// <summary>Whether the bytes start as an ELF file does.</summary>
    /// <param name="image">The file, or its first bytes.</param>
    /// <returns>True for ELF.</returns>
    public static bool IsElf(ReadOnlySpan<byte> image) => image.StartsWith(ElfMagic);

    /// <summary>Whether the bytes have the setup header of a Linux x86 kernel.</summary>
    /// <param name="image">The file, or at least its first 1 KiB.</param>
    /// <returns>True for a bzImage (or zImage).</returns>
    public static bool IsBzImage(ReadOnlySpan<byte> image) => image.Length >= PayloadLength + 4 && image[HeaderMagic..].StartsWith("HdrS"u8);

    /// <summary>Tells how a bzImage's kernel is packed.</summary>
    /// <param name="bzImage">The whole file.</param>
    /// <param name="name">What to call it in errors.</param>
    /// <returns>The format; <see cref="KernelCompression.Unknown"/> if it is none of Linux's.</returns>
    /// <exception cref="BootImageException">It is no bzImage with a payload.</exception>
    public static KernelCompression Detect(ReadOnlySpan<byte> bzImage, string name = "kernel") => Recognise(Payload(bzImage, name));

    /// <summary>Unpacks the vmlinux of a bzImage; an ELF vmlinux is checked and returned as it is.</summary>
    /// <param name="image">The whole file.</param>
    /// <param name="name">What to call it in errors, such as its path.</param>
    /// <param name="maximumSize">Most bytes to unpack.</param>
    /// <returns>An ELF64 file for x86-64 whose segments lie within it.</returns>
    /// <exception cref="BootImageException">The image is malformed, too big, not for x86-64, or packed by zstd, bzip2, lzma or lzo.</exception>
    public static byte[] Extract(ReadOnlySpan<byte> image, string name = "kernel", int maximumSize = DefaultMaximumSize)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maximumSize);
        if (IsElf(image))
        {
            CheckElf(image, name);
            return image.ToArray();
        }
        byte[] vmlinux = Unpack(Payload(image, name), name, maximumSize);
        CheckElf(vmlinux, name);
        return vmlinux;
    }

    private static ReadOnlySpan<byte> Payload(ReadOnlySpan<byte> image, string name)
    {
        if (!IsBzImage(image))
            throw new BootImageException(name, "setup header", $"the magic \"HdrS\" is not at offset 0x{HeaderMagic:x}: not a Linux x86 kernel. Give a bzImage (vmlinuz) or an ELF vmlinux.");
        int version = BinaryPrimitives.ReadUInt16LittleEndian(image[Version..]);
        if (version < FirstVersionWithPayload)
            throw new BootImageException(name, "setup header version", $"boot protocol {version >> 8}.{version & 0xFF:d2} does not say where the kernel is; 2.08 (Linux 2.6.26) and later do.");
        int sectors = image[SetupSectors] == 0 ? DefaultSetupSectors : image[SetupSectors];
        long start = (sectors + 1L) * SectorSize + BinaryPrimitives.ReadUInt32LittleEndian(image[PayloadOffset..]);
        long length = BinaryPrimitives.ReadUInt32LittleEndian(image[PayloadLength..]);
        if (length < 4 || start + length > image.Length)
            throw new BootImageException(name, "payload_offset, payload_length", $"the packed kernel would lie at 0x{start:x} with 0x{length:x} bytes, but the file has 0x{image.Length:x}: the file is cut short or damaged.");
        return image.Slice((int)start, (int)length);
    }

    private static KernelCompression Recognise(ReadOnlySpan<byte> payload) => payload switch
    {
        [0x1F, 0x8B, ..] => KernelCompression.Gzip,
        [0x02, 0x21, 0x4C, 0x18, ..] => KernelCompression.Lz4,
        [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, ..] => KernelCompression.Xz,
        [0x28, 0xB5, 0x2F, 0xFD, ..] => KernelCompression.Zstd,
        [(byte)'B', (byte)'Z', (byte)'h', ..] => KernelCompression.Bzip2,
        [0x5D, 0, 0, ..] => KernelCompression.Lzma,
        [0x89, (byte)'L', (byte)'Z', (byte)'O', ..] => KernelCompression.Lzo,
        [0x7F, (byte)'E', (byte)'L', (byte)'F', ..] => KernelCompression.None,
        _ => KernelCompression.Unknown,
    };

    private static byte[] Unpack(ReadOnlySpan<byte> payload, string name, int maximumSize)
    {
        KernelCompression format = Recognise(payload);
        // The build appends the unpacked size to every format (gzip has it in its own trailer).
        uint announced = BinaryPrimitives.ReadUInt32LittleEndian(payload[^4..]);
        if (format is KernelCompression.Gzip or KernelCompression.Lz4 or KernelCompression.Xz && announced > (uint)maximumSize)
            throw new BootImageException(name, "payload", $"the kernel says it unpacks to {announced} bytes, more than the {maximumSize} allowed.");
        var output = new BoundedOutput(announced, maximumSize);
        try
        {
            switch (format)
            {
                case KernelCompression.Gzip:
                    Gunzip(payload, output);
                    break;
                case KernelCompression.Lz4:
                    Lz4LegacyDecoder.Decode(payload[..^4], output);
                    break;
                case KernelCompression.Xz:
                    XzDecoder.Decode(payload[..^4], output);
                    break;
                case KernelCompression.None:
                    return payload.Length <= maximumSize
                        ? payload.ToArray()
                        : throw new BootImageException(name, "payload", $"the kernel has {payload.Length} bytes, more than the {maximumSize} allowed.");
                case KernelCompression.Unknown:
                    throw new BootImageException(name, "payload", $"the packed kernel starts with {Convert.ToHexString(payload[..4])}, which no format Linux uses does: the file is damaged.");
                default:
                    throw new BootImageException(name, "payload", $"the kernel is packed by {format.ToString().ToLowerInvariant()}, which is not unpacked here (gzip, lz4 and xz are). Boot it as a bzImage, or unpack it with Linux's scripts/extract-vmlinux.");
            }
        }
        catch (DecompressionException e)
        {
            throw new BootImageException(name, "payload", e.Message + ": the file is damaged.");
        }
        if ((uint)output.Length != announced)
            throw new BootImageException(name, "payload", $"the kernel unpacks to {output.Length} bytes where {announced} are announced: the file is damaged.");
        return output.ToArray();
    }

    private static void Gunzip(ReadOnlySpan<byte> payload, BoundedOutput output)
    {
        using var gzip = new GZipStream(new MemoryStream(payload.ToArray(), writable: false), CompressionMode.Decompress);
        try
        {
            while (true)
            {
                if (!output.TryReserve(Math.Min(1 << 16, output.Maximum - output.Length), out Span<byte> room) || room.IsEmpty)
                {
                    if (gzip.ReadByte() >= 0)
                        throw new DecompressionException("gzip", 0, $"it unpacks to more than the {output.Maximum} bytes allowed");
                    return;
                }
                int got = gzip.Read(room);
                if (got == 0)
                    return;
                output.Advance(got);
            }
        }
        catch (InvalidDataException e)
        {
            throw new DecompressionException("gzip", 0, e.Message);
        }
    }

    private static void CheckElf(ReadOnlySpan<byte> elf, string name)
    {
        if (elf.Length < ElfHeaderSize || !IsElf(elf))
            throw new BootImageException(name, "ELF header", "what is inside is not an ELF file.");
        if (elf[4] != 2 || elf[5] != 1 || BinaryPrimitives.ReadUInt16LittleEndian(elf[18..]) != ElfMachineX64)
            throw new BootImageException(name, "ELF header", "the kernel is not a 64-bit one for x86-64.");
        ulong offset = BinaryPrimitives.ReadUInt64LittleEndian(elf[32..]);
        int size = BinaryPrimitives.ReadUInt16LittleEndian(elf[54..]), count = BinaryPrimitives.ReadUInt16LittleEndian(elf[56..]);
        if (size != ElfProgramHeaderSize || count == 0 || offset > (ulong)elf.Length || (ulong)(size * count) > (ulong)elf.Length - offset)
            throw new BootImageException(name, "ELF program headers", $"{count} headers of {size} bytes at 0x{offset:x} do not fit a file of 0x{elf.Length:x} bytes.");
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> header = elf.Slice((int)offset + i * size, size);
            ulong from = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]), length = BinaryPrimitives.ReadUInt64LittleEndian(header[32..]);
            if (BinaryPrimitives.ReadUInt32LittleEndian(header) == ElfLoad && (from > (ulong)elf.Length || length > (ulong)elf.Length - from))
                throw new BootImageException(name, $"ELF segment {i}", $"0x{length:x} bytes at 0x{from:x} pass the file's end at 0x{elf.Length:x}.");
        }
    }
}
