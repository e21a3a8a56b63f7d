// LZ4 legacy frames: lz4 doc/lz4_Frame_format.md, "Legacy frame"; blocks: lz4 doc/lz4_Block_format.md.
using System.Buffers.Binary;

namespace Vmm.Guests.Compression;

/// <summary>Decompresses what <c>lz4 -l</c> makes, the form Linux kernels are packed in.</summary>
internal static class Lz4LegacyDecoder
{
    public const uint Magic = 0x184C2102;
    private const string Format = "LZ4";

    /// <summary>Each block but the last holds exactly this many bytes when unpacked.</summary>
    private const int BlockSize = 8 << 20;

    private const int MinimumMatch = 4;

    /// <exception cref="DecompressionException">The data is malformed or passes the output's limit.</exception>
    public static void Decode(ReadOnlySpan<byte> input, BoundedOutput output)
    {
        int at = 0;
        if (input.Length < 4 || BinaryPrimitives.ReadUInt32LittleEndian(input) != Magic)
            throw new DecompressionException(Format, 0, "the legacy frame's magic number is missing");
        while (at < input.Length)
        {
            if (input.Length - at < 4)
                throw new DecompressionException(Format, at, "a block's size field is cut short");
            uint size = BinaryPrimitives.ReadUInt32LittleEndian(input[at..]);
            at += 4;
            // Frames may follow one another.
            if (size == Magic)
                continue;
            if (size == 0 || size > (uint)(input.Length - at))
                throw new DecompressionException(Format, at - 4, $"a block claims {size} bytes where {input.Length - at} are left");
            // The output's limit decides first, so that a small limit needs no 8 MiB of memory.
            int most = Math.Min(BlockSize, output.Maximum - output.Length);
            if (!output.TryReserve(Math.Min(most, 255L * size), out Span<byte> room))
                throw TooBig(at, output);
            room = room[..Math.Min(room.Length, most)];
            output.Advance(DecodeBlock(input.Slice(at, (int)size), room, at, most < BlockSize ? output : null));
            at += (int)size;
        }
    }

    private static int DecodeBlock(ReadOnlySpan<byte> input, Span<byte> output, long offset, BoundedOutput? limited)
    {
        int from = 0, to = 0;
        while (from < input.Length)
        {
            int token = input[from++];
            int literals = ReadLength(input, ref from, token >> 4, offset);
            if (literals > input.Length - from)
                throw new DecompressionException(Format, offset + from, $"{literals} literal bytes are announced, {input.Length - from} are left");
            if (literals > output.Length - to)
                throw Overflow(offset + from, limited);
            input.Slice(from, literals).CopyTo(output[to..]);
            from += literals;
            to += literals;
            if (from == input.Length)
                return to;
            if (input.Length - from < 2)
                throw new DecompressionException(Format, offset + from, "a match is cut short");
            int distance = BinaryPrimitives.ReadUInt16LittleEndian(input[from..]);
            from += 2;
            if (distance == 0 || distance > to)
                throw new DecompressionException(Format, offset + from - 2, $"a match reaches {distance} bytes back where {to} exist");
            int length = ReadLength(input, ref from, token & 15, offset) + MinimumMatch;
            if (length > output.Length - to)
                throw Overflow(offset + from, limited);
            Copy(output, to, distance, length);
            to += length;
        }
        throw new DecompressionException(Format, offset + from, "a block does not end with literals");
    }

    private static int ReadLength(ReadOnlySpan<byte> input, ref int from, int nibble, long offset)
    {
        int length = nibble;
        if (nibble != 15)
            return length;
        byte more;
        do
        {
            if (from >= input.Length)
                throw new DecompressionException(Format, offset + from, "a length is cut short");
            more = input[from++];
            // Cannot pass 255 times the input's length, which is an int's worth only for inputs over 8 MiB.
            if (length > BlockSize)
                throw new DecompressionException(Format, offset + from, "a length passes the block size");
            length += more;
        }
        while (more == 255);
        return length;
    }

    private static void Copy(Span<byte> output, int to, int distance, int length)
    {
        if (distance >= length)
        {
            output.Slice(to - distance, length).CopyTo(output[to..]);
            return;
        }
        if (distance == 1)
        {
            output.Slice(to, length).Fill(output[to - 1]);
            return;
        }
        for (int i = 0; i < length; i++)
            output[to + i] = output[to + i - distance];
    }

    private static DecompressionException Overflow(long offset, BoundedOutput? limited) => limited is null
        ? new DecompressionException(Format, offset, $"a block unpacks to more than {BlockSize} bytes")
        : TooBig(offset, limited);

    private static DecompressionException TooBig(long offset, BoundedOutput output) =>
        new(Format, offset, $"it unpacks to more than the {output.Maximum} bytes allowed");
}
