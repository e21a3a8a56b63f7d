using System.Buffers.Binary;

namespace Vmm.Core.Tests.Boot;

/// <summary>Makes ELF files of both classes: headers first, then each segment's bytes.</summary>
internal sealed class ElfFixture(bool is64Bit = true)
{
    private readonly List<(uint Type, ulong Virtual, ulong Physical, byte[] Bytes, ulong MemorySize)> _segments = [];

    public ulong Entry { get; set; } = 0x1000000;

    public ushort Machine { get; set; } = is64Bit ? (ushort)62 : (ushort)3;

    public int HeaderSize => is64Bit ? 64 : 52;

    public int EntrySize => is64Bit ? 56 : 32;

    /// <summary>A 64-bit kernel at 16 MiB with zeroed data and, if wanted, a PVH entry.</summary>
    public static ElfFixture Kernel(bool is64Bit = true, uint? pvhEntry = null)
    {
        var elf = new ElfFixture(is64Bit).Load(0x1000000, Pattern(0x3000), 0x3000).Load(0x1003000, Pattern(0x234), 0x10000);
        return pvhEntry is { } entry ? elf.Note("Xen\0", 18, BitConverter.GetBytes(is64Bit ? entry : (ulong)entry)[..(is64Bit ? 8 : 4)]) : elf;
    }

    public static byte[] Pattern(int length) => [.. Enumerable.Range(1, length).Select(i => (byte)(i * 5 + 1))];

    public ElfFixture Load(ulong physical, byte[] bytes, ulong memorySize, ulong? virtualAddress = null)
    {
        _segments.Add((1, virtualAddress ?? physical, physical, bytes, memorySize));
        return this;
    }

    public ElfFixture Note(string owner, uint type, byte[] value)
    {
        List<byte> bytes = [];
        // Another note before it, whose sizes are not multiples of four.
        foreach (var (o, t, v) in new[] { ("GNU\0\0", 3u, new byte[] { 1, 2, 3, 4, 5 }), (owner, type, value) })
        {
            bytes.AddRange(BitConverter.GetBytes(o.Length));
            bytes.AddRange(BitConverter.GetBytes(v.Length));
            bytes.AddRange(BitConverter.GetBytes(t));
            bytes.AddRange(System.Text.Encoding.ASCII.GetBytes(o));
            while (bytes.Count % 4 != 0) bytes.Add(0);
            bytes.AddRange(v);
            while (bytes.Count % 4 != 0) bytes.Add(0);
        }

        _segments.Add((4, 0, 0, [.. bytes], (ulong)bytes.Count));
        return this;
    }

    public byte[] Build()
    {
        var offset = HeaderSize + EntrySize * _segments.Count;
        var file = new byte[offset + _segments.Sum(s => s.Bytes.Length)];
        ((ReadOnlySpan<byte>)[0x7F, (byte)'E', (byte)'L', (byte)'F', (byte)(is64Bit ? 2 : 1), 1, 1]).CopyTo(file);
        U16(file, 16, 2);
        U16(file, 18, Machine);
        U32(file, 20, 1);
        Word(file, 24, 24, Entry);
        Word(file, 32, 28, (ulong)HeaderSize);
        U16(file, is64Bit ? 52 : 40, (ushort)HeaderSize);
        U16(file, is64Bit ? 54 : 42, (ushort)EntrySize);
        U16(file, is64Bit ? 56 : 44, (ushort)_segments.Count);
        for (var i = 0; i < _segments.Count; i++)
        {
            var (type, virtualAddress, physical, bytes, memorySize) = _segments[i];
            var at = HeaderSize + EntrySize * i;
            U32(file, at, type);
            Word(file, at + 8, at + 4, (ulong)offset);
            Word(file, at + 16, at + 8, virtualAddress);
            Word(file, at + 24, at + 12, physical);
            Word(file, at + 32, at + 16, (ulong)bytes.Length);
            Word(file, at + 40, at + 20, memorySize);
            Word(file, at + 48, at + 28, 4);
            bytes.CopyTo(file, offset);
            offset += bytes.Length;
        }

        return file;
    }

    public static void U16(byte[] file, int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(at), value);

    public static void U32(byte[] file, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at), value);

    public static void U64(byte[] file, int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(at), value);

    private void Word(byte[] file, int at64, int at32, ulong value)
    {
        if (is64Bit) U64(file, at64, value);
        else U32(file, at32, (uint)value);
    }
}
