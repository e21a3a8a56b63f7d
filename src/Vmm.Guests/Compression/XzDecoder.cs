// The .xz file format, version 1.2.1 (tukaani.org/xz/xz-file-format.txt).
using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Vmm.Guests.Compression;

/// <summary>Decompresses .xz files with the filters LZMA2 and x86 BCJ, checking every checksum, size and the index.</summary>
internal static class XzDecoder
{
    private const string Format = "XZ";
    private const int HeaderSize = 12;
    private const ulong Lzma2Filter = 0x21, X86Filter = 0x04;

    private static ReadOnlySpan<byte> Magic => [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0];

    private enum Check { None = 0, Crc32 = 1, Crc64 = 4, Sha256 = 10 }

    public static bool IsXz(ReadOnlySpan<byte> input) => input.StartsWith(Magic);

    /// <exception cref="DecompressionException">The data is malformed or passes the output's limit.</exception>
    public static void Decode(ReadOnlySpan<byte> input, BoundedOutput output)
    {
        int at = 0;
        do
        {
            DecodeStream(input, ref at, output);
            // Streams may follow one another, with zeros in fours between them.
            while (input.Length - at >= 4 && BinaryPrimitives.ReadUInt32LittleEndian(input[at..]) == 0)
                at += 4;
        }
        while (at < input.Length);
    }

    private static void DecodeStream(ReadOnlySpan<byte> input, ref int at, BoundedOutput output)
    {
        ReadOnlySpan<byte> header = Take(input, ref at, HeaderSize);
        if (!header.StartsWith(Magic))
            throw Fault(at - HeaderSize, "the magic bytes are missing");
        ReadOnlySpan<byte> flags = header.Slice(6, 2);
        if (Checksums.Crc32(flags) != BinaryPrimitives.ReadUInt32LittleEndian(header[8..]))
            throw Fault(at - 4, "the stream header's checksum is wrong");
        var check = (Check)flags[1];
        if (flags[0] != 0 || check is not (Check.None or Check.Crc32 or Check.Crc64 or Check.Sha256))
            throw Fault(at - 6, $"the stream flags {flags[0]:x2} {flags[1]:x2} are not supported");

        var records = new List<(ulong Unpadded, ulong Uncompressed)>();
        while (true)
        {
            if (at >= input.Length)
                throw Fault(at, "the index is missing");
            if (input[at] == 0)
                break;
            records.Add(DecodeBlock(input, ref at, check, output));
        }
        int indexSize = ReadIndex(input, ref at, records);
        int footerAt = at;
        ReadOnlySpan<byte> footer = Take(input, ref at, HeaderSize);
        if (Checksums.Crc32(footer.Slice(4, 6)) != BinaryPrimitives.ReadUInt32LittleEndian(footer))
            throw Fault(footerAt, "the stream footer's checksum is wrong");
        if ((BinaryPrimitives.ReadUInt32LittleEndian(footer[4..]) + 1L) * 4 != indexSize
            || !footer.Slice(8, 2).SequenceEqual(flags) || !footer[10..].SequenceEqual("YZ"u8))
            throw Fault(footerAt, "the stream footer does not match the stream");
    }

    private static (ulong Unpadded, ulong Uncompressed) DecodeBlock(ReadOnlySpan<byte> input, ref int at, Check check, BoundedOutput output)
    {
        int blockAt = at;
        int headerSize = (input[at] + 1) * 4;
        ReadOnlySpan<byte> header = Take(input, ref at, headerSize);
        int end = headerSize - 4;
        if (Checksums.Crc32(header[..end]) != BinaryPrimitives.ReadUInt32LittleEndian(header[end..]))
            throw Fault(blockAt, "a block header's checksum is wrong");
        header = header[..end];
        byte flags = header[1];
        if ((flags & 0x3C) != 0)
            throw Fault(blockAt + 1, "a block header has reserved flags");
        int field = 2;
        ulong? packedSize = (flags & 0x40) != 0 ? ReadNumber(header, ref field, blockAt) : null;
        ulong? unpackedSize = (flags & 0x80) != 0 ? ReadNumber(header, ref field, blockAt) : null;
        (uint dictionary, uint? branchStart) = ReadFilters(header, ref field, (flags & 3) + 1, blockAt);
        if (header[field..].ContainsAnyExcept((byte)0))
            throw Fault(blockAt + field, "a block header's padding is not zero");

        int dataAt = at, outputAt = output.Length;
        at += Lzma2Decoder.Decode(input[at..], at, dictionary, output);
        Span<byte> data = output.Written[outputAt..];
        if (branchStart is { } start)
            X86BranchFilter.Decode(data, start);
        ulong packed = (ulong)(at - dataAt);
        if ((packedSize ?? packed) != packed || (unpackedSize ?? (ulong)data.Length) != (ulong)data.Length)
            throw Fault(blockAt, "a block header's sizes are not those of the block");
        if (Take(input, ref at, (int)(-(long)packed & 3)).ContainsAnyExcept((byte)0))
            throw Fault(at, "a block's padding is not zero");
        int checkSize = VerifyCheck(input, ref at, check, data);
        return ((ulong)headerSize + packed + (ulong)checkSize, (ulong)data.Length);
    }

    private static (uint Dictionary, uint? BranchStart) ReadFilters(ReadOnlySpan<byte> header, ref int field, int count, int blockAt)
    {
        uint? branchStart = null;
        for (int i = 0; i < count; i++)
        {
            ulong id = ReadNumber(header, ref field, blockAt);
            ulong size = ReadNumber(header, ref field, blockAt);
            if (size > (ulong)(header.Length - field))
                throw Fault(blockAt + field, "a filter's properties pass the block header");
            ReadOnlySpan<byte> properties = header.Slice(field, (int)size);
            field += (int)size;
            bool last = i == count - 1;
            if (last && id == Lzma2Filter && size == 1 && Lzma2Decoder.DictionarySize(properties[0]) is not 0 and uint dictionary)
                return (dictionary, branchStart);
            if (i == 0 && !last && id == X86Filter && size is 0 or 4)
                branchStart = size == 0 ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(properties);
            else
                throw Fault(blockAt + field, $"filter 0x{id:x} with {size} property bytes at place {i + 1} of {count} is not supported; only LZMA2, alone or after x86 BCJ, is");
        }
        throw Fault(blockAt, "the last filter is not LZMA2");
    }

    private static int VerifyCheck(ReadOnlySpan<byte> input, ref int at, Check check, ReadOnlySpan<byte> data)
    {
        int checkAt = at;
        bool good;
        switch (check)
        {
            case Check.Crc32:
                good = BinaryPrimitives.ReadUInt32LittleEndian(Take(input, ref at, 4)) == Checksums.Crc32(data);
                break;
            case Check.Crc64:
                good = BinaryPrimitives.ReadUInt64LittleEndian(Take(input, ref at, 8)) == Checksums.Crc64(data);
                break;
            case Check.Sha256:
                good = Take(input, ref at, SHA256.HashSizeInBytes).SequenceEqual(SHA256.HashData(data));
                break;
            default:
                good = true;
                break;
        }
        return good ? at - checkAt : throw Fault(checkAt, "a block's checksum is wrong");
    }

    private static int ReadIndex(ReadOnlySpan<byte> input, ref int at, List<(ulong Unpadded, ulong Uncompressed)> records)
    {
        int indexAt = at++;
        ulong count = ReadNumber(input, ref at, 0);
        if (count != (ulong)records.Count)
            throw Fault(indexAt, $"the index lists {count} blocks where there are {records.Count}");
        foreach ((ulong unpadded, ulong uncompressed) in records)
        {
            if (ReadNumber(input, ref at, 0) != unpadded || ReadNumber(input, ref at, 0) != uncompressed)
                throw Fault(at, "the index does not match the blocks");
        }
        if (Take(input, ref at, -(at - indexAt) & 3).ContainsAnyExcept((byte)0))
            throw Fault(at, "the index's padding is not zero");
        uint crc = Checksums.Crc32(input[indexAt..at]);
        if (BinaryPrimitives.ReadUInt32LittleEndian(Take(input, ref at, 4)) != crc)
            throw Fault(at - 4, "the index's checksum is wrong");
        return at - indexAt;
    }

    private static ulong ReadNumber(ReadOnlySpan<byte> bytes, ref int at, int offset)
    {
        ulong number = 0;
        for (int i = 0; i < 9; i++)
        {
            if (at >= bytes.Length)
                throw Fault(offset + at, "a number is cut short");
            byte b = bytes[at++];
            number |= (ulong)(b & 0x7F) << (7 * i);
            if ((b & 0x80) == 0)
                return b != 0 || i == 0 ? number : throw Fault(offset + at - 1, "a number has a needless zero byte");
        }
        throw Fault(offset + at, "a number has more than nine bytes");
    }

    private static ReadOnlySpan<byte> Take(ReadOnlySpan<byte> input, ref int at, int count)
    {
        if (count > input.Length - at)
            throw Fault(at, $"{count} bytes are needed, {input.Length - at} are left");
        ReadOnlySpan<byte> taken = input.Slice(at, count);
        at += count;
        return taken;
    }

    private static DecompressionException Fault(long offset, string reason) => new(Format, offset, reason);
}
