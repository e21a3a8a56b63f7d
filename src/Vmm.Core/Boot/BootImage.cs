using System.Buffers.Binary;
using Vmm.Core.Errors;

namespace Vmm.Core.Boot;

/// <summary>A file's bytes under a name. Reads are little-endian and checked: one past the end is the image's fault and says so.</summary>
internal readonly struct BootImage(string name, ReadOnlyMemory<byte> bytes)
{
    public string Name { get; } = name;

    public ReadOnlyMemory<byte> Bytes { get; } = bytes;

    public ulong Length => (uint)Bytes.Length;

    public byte U8(ulong offset, string field) => At(offset, 1, field)[0];

    public ushort U16(ulong offset, string field) => BinaryPrimitives.ReadUInt16LittleEndian(At(offset, 2, field));

    public uint U32(ulong offset, string field) => BinaryPrimitives.ReadUInt32LittleEndian(At(offset, 4, field));

    public ulong U64(ulong offset, string field) => BinaryPrimitives.ReadUInt64LittleEndian(At(offset, 8, field));

    /// <summary>Whether a range is inside the file.</summary>
    public bool Holds(ulong offset, ulong length) => offset <= Length && length <= Length - offset;

    /// <summary>A range of the file.</summary>
    /// <exception cref="BootImageException">It is not all inside.</exception>
    public ReadOnlyMemory<byte> Slice(ulong offset, ulong length, string field) => Holds(offset, length)
        ? Bytes.Slice((int)offset, (int)length)
        : throw Error(field, $"it reaches from offset {BootMemory.Hex(offset)} over {BootMemory.Hex(length)} bytes, but the file has only {BootMemory.Hex(Length)}; the file is truncated or damaged, get it again.");

    public BootImageException Error(string place, string reason) => new(Name, place, reason);

    private ReadOnlySpan<byte> At(ulong offset, int size, string field) => Slice(offset, (uint)size, field).Span;
}
