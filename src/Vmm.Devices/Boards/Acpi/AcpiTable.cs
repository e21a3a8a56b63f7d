// ACPI 6.5, 5.2.6 "System Description Table Header".
using System.Buffers.Binary;
using System.Text;

namespace Vmm.Devices.Boards.Acpi;

/// <summary>Builds one ACPI table: a header, fields put one after another or at offsets, and the checksum.</summary>
internal sealed class AcpiTable
{
    /// <summary>Where the checksum of every table is.</summary>
    public const int ChecksumAt = 9;

    private const int LengthAt = 4;

    private readonly List<byte> _bytes = [];

    /// <summary>Starts a table with its header.</summary>
    public AcpiTable(string signature, byte revision)
    {
        Text(signature, 4);
        U32(0);
        U8(revision);
        U8(0);
        Text("VMM", 6);
        Text("VMMACPI", 8);
        U32(1);
        Text("VMM", 4);
        U32(1);
    }

    public AcpiTable U8(byte value)
    {
        _bytes.Add(value);
        return this;
    }

    public AcpiTable U16(ushort value) => U8((byte)value).U8((byte)(value >> 8));

    public AcpiTable U32(uint value) => U16((ushort)value).U16((ushort)(value >> 16));

    public AcpiTable U64(ulong value) => U32((uint)value).U32((uint)(value >> 32));

    public AcpiTable Bytes(ReadOnlySpan<byte> bytes)
    {
        foreach (var value in bytes) _bytes.Add(value);
        return this;
    }

    public AcpiTable Zeros(int count)
    {
        for (var i = 0; i < count; i++) _bytes.Add(0);
        return this;
    }

    /// <summary>Generic Address Structure (5.2.3.2) of an I/O port; all zero where the width is.</summary>
    public AcpiTable Port(ushort port, byte bits, byte accessSize) => bits == 0 ? Zeros(12) : U8(1).U8(bits).U8(0).U8(accessSize).U64(port);

    /// <summary>Says that the next field is at an offset: a table whose fields have gone astray must not be built.</summary>
    public AcpiTable At(int offset) =>
        _bytes.Count == offset ? this : throw new InvalidOperationException($"Field at {_bytes.Count}, expected at {offset}.");

    /// <summary>The table with length and checksum.</summary>
    public byte[] ToArray()
    {
        byte[] table = [.. _bytes];
        BinaryPrimitives.WriteInt32LittleEndian(table.AsSpan(LengthAt), table.Length);
        table[ChecksumAt] = Checksum(table);
        return table;
    }

    /// <summary>The byte that makes the sum of all zero, where it is still zero itself.</summary>
    public static byte Checksum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (var value in bytes) sum += value;
        return (byte)-sum;
    }

    private void Text(string text, int length) => _bytes.AddRange(Encoding.ASCII.GetBytes(text.PadRight(length)));
}
