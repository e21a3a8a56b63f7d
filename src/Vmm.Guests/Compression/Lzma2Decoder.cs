// LZMA2: xz-file-format 1.2.1, section 5.3.1, and the chunk layout of liblzma's lzma2_decoder.
using System.Buffers.Binary;

namespace Vmm.Guests.Compression;

/// <summary>Decompresses one LZMA2 stream: chunks, each LZMA or stored.</summary>
internal static class Lzma2Decoder
{
    private const string Format = "XZ";

    /// <summary>The dictionary size a properties byte stands for, or 0 if it is not allowed.</summary>
    public static uint DictionarySize(byte property) => property switch
    {
        > 40 => 0,
        40 => uint.MaxValue,
        _ => (2u | (property & 1u)) << (property / 2 + 11),
    };

    /// <returns>Bytes of input used.</returns>
    /// <exception cref="DecompressionException">The data is malformed or passes the output's limit.</exception>
    public static int Decode(ReadOnlySpan<byte> input, long offset, uint dictionary, BoundedOutput output)
    {
        var lzma = new LzmaDecoder();
        bool needDictionary = true, needProperties = true, needState = true;
        int start = output.Length, at = 0;
        while (true)
        {
            byte control = Take(input, ref at, 1, offset)[0];
            if (control == 0)
                return at;
            if (control is > 2 and < 0x80)
                throw new DecompressionException(Format, offset + at - 1, $"0x{control:x2} is not a chunk type");
            bool isLzma = control >= 0x80;
            if (control is 1 or >= 0xE0)
            {
                needDictionary = false;
                start = output.Length;
                needProperties |= control == 1;
            }
            else if (needDictionary)
            {
                throw new DecompressionException(Format, offset + at - 1, "the first chunk does not reset the dictionary");
            }
            ReadOnlySpan<byte> sizes = Take(input, ref at, isLzma ? 4 : 2, offset);
            int unpacked = BinaryPrimitives.ReadUInt16BigEndian(sizes) + (isLzma ? (control & 0x1F) << 16 : 0) + 1;
            if (!output.TryReserve(unpacked, out Span<byte> room))
                throw new DecompressionException(Format, offset + at, $"it unpacks to more than the {output.Maximum} bytes allowed");
            if (!isLzma)
            {
                Take(input, ref at, unpacked, offset).CopyTo(room);
                output.Advance(unpacked);
                continue;
            }
            int packed = BinaryPrimitives.ReadUInt16BigEndian(sizes[2..]) + 1;
            if (control >= 0xC0)
            {
                if (!lzma.TrySetProperties(Take(input, ref at, 1, offset)[0]))
                    throw new DecompressionException(Format, offset + at - 1, "the LZMA properties are out of range");
                needProperties = false;
            }
            if (needProperties || (control < 0xA0 && needState))
                throw new DecompressionException(Format, offset + at, "a chunk relies on a state that no chunk before it set");
            if (control >= 0xA0)
                lzma.ResetState();
            needState = false;
            ReadOnlySpan<byte> chunk = Take(input, ref at, packed, offset);
            if (!RangeDecoder.TryCreate(chunk, out RangeDecoder range))
                throw new DecompressionException(Format, offset + at - packed, "a chunk does not start as range-coded data does");
            int from = output.Length - start;
            output.Advance(unpacked);
            string? fault = lzma.Decode(ref range, output.Written[start..], from, dictionary);
            if (fault is not null)
                throw new DecompressionException(Format, offset + at - packed, fault);
        }
    }

    private static ReadOnlySpan<byte> Take(ReadOnlySpan<byte> input, ref int at, int count, long offset)
    {
        if (count > input.Length - at)
            throw new DecompressionException(Format, offset + at, $"{count} bytes are needed, {input.Length - at} are left");
        ReadOnlySpan<byte> taken = input.Slice(at, count);
        at += count;
        return taken;
    }
}
