using System.Buffers.Binary;

namespace Vmm.Core.State;

/// <summary>
/// The form of a saved unit: records one after another, each a header of 9 bytes (tag, kind, length of the body; little-endian) and
/// the body. A part's body is again such records. Nothing is aligned.
/// </summary>
internal readonly record struct StateRecord(int Tag, StateRecordKind Kind, int Start, int Length)
{
    /// <summary>Bytes of a record's header.</summary>
    public const int HeaderSize = 9;

    /// <summary>How deep parts may nest.</summary>
    public const int MaximumDepth = 16;

    /// <summary>Reads a header.</summary>
    /// <param name="saved">The whole unit.</param>
    /// <param name="offset">Where the header is.</param>
    /// <param name="end">The first byte that the record may not reach.</param>
    /// <param name="record">The record.</param>
    /// <returns>Whether there is a whole record of a known kind.</returns>
    public static bool TryRead(ReadOnlySpan<byte> saved, int offset, int end, out StateRecord record)
    {
        record = default;
        if (end - offset < HeaderSize) return false;
        var tag = BinaryPrimitives.ReadInt32LittleEndian(saved[offset..]);
        var kind = (StateRecordKind)saved[offset + 4];
        var length = BinaryPrimitives.ReadUInt32LittleEndian(saved[(offset + 5)..]);
        if (tag < 0 || kind > StateRecordKind.Part || length > (uint)(end - offset - HeaderSize)) return false;
        record = new StateRecord(tag, kind, offset + HeaderSize, (int)length);
        return true;
    }

    /// <summary>Writes a header.</summary>
    public static void Write(Span<byte> header, int tag, StateRecordKind kind, int length)
    {
        BinaryPrimitives.WriteInt32LittleEndian(header, tag);
        header[4] = (byte)kind;
        BinaryPrimitives.WriteInt32LittleEndian(header[5..], length);
    }
}
