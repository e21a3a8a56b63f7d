using System.Buffers.Binary;
using System.IO.Compression;

namespace Vmm.Guests.Tests.Kernels;

/// <summary>Small kernels put together by hand.</summary>
public static class TestKernel
{
    /// <summary>An ELF64 with one segment of some compressible content.</summary>
    public static byte[] Elf(int size = 20_000)
    {
        byte[] elf = new byte[size];
        for (int i = 120; i < size; i++)
            elf[i] = (byte)(i * i / 700);
        new byte[] { 0x7F, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1 }.CopyTo(elf, 0);
        BinaryPrimitives.WriteUInt16LittleEndian(elf.AsSpan(16), 2);
        BinaryPrimitives.WriteUInt16LittleEndian(elf.AsSpan(18), 62);
        BinaryPrimitives.WriteUInt64LittleEndian(elf.AsSpan(32), 64);
        BinaryPrimitives.WriteUInt16LittleEndian(elf.AsSpan(54), 56);
        BinaryPrimitives.WriteUInt16LittleEndian(elf.AsSpan(56), 1);
        BinaryPrimitives.WriteUInt32LittleEndian(elf.AsSpan(64), 1);
        BinaryPrimitives.WriteUInt64LittleEndian(elf.AsSpan(64 + 8), 120);
        BinaryPrimitives.WriteUInt64LittleEndian(elf.AsSpan(64 + 32), (ulong)size - 120);
        return elf;
    }

    /// <summary>A bzImage around a payload, which the caller has ended with the unpacked size.</summary>
    public static byte[] BzImage(byte[] payload, int setupSectors = 3, int offset = 100, ushort version = 0x20F)
    {
        int start = ((setupSectors == 0 ? 4 : setupSectors) + 1) * 512 + offset;
        byte[] image = new byte[start + payload.Length + 64];
        image[0x1F1] = (byte)setupSectors;
        "HdrS"u8.CopyTo(image.AsSpan(0x202));
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(0x206), version);
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(0x248), offset);
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(0x24C), payload.Length);
        payload.CopyTo(image, start);
        return image;
    }

    public static byte[] Gzip(byte[] bytes)
    {
        var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest))
            gzip.Write(bytes);
        return packed.ToArray();
    }

    public static byte[] WithSize(byte[] packed, int size) => [.. packed, .. BitConverter.GetBytes(size)];
}
