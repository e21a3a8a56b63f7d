// ACPI 6.5, 20 "ACPI Machine Language (AML) Specification" and 6.4 "Resource Data Types for ACPI".
using System.Buffers.Binary;
using System.Text;

namespace Vmm.Devices.Boards.Acpi;

/// <summary>Writes AML byte code: names, packages, scopes, devices and their resources. Blocks are nested by callbacks.</summary>
internal sealed partial class AmlWriter
{
    private const byte ZeroOp = 0x00, OneOp = 0x01, NameOp = 0x08, BytePrefix = 0x0A, WordPrefix = 0x0B, DWordPrefix = 0x0C, StringPrefix = 0x0D, QWordPrefix = 0x0E;
    private const byte ScopeOp = 0x10, BufferOp = 0x11, PackageOp = 0x12, ExtendedPrefix = 0x5B, DeviceOp = 0x82;
    private const byte DualNamePrefix = 0x2E, MultiNamePrefix = 0x2F;
    private const byte IoDescriptor = 0x47, IrqDescriptor = 0x22, EndTag = 0x79, Memory32FixedDescriptor = 0x86, ExtendedInterruptDescriptor = 0x89;
    private const byte Decode16 = 0x01, ReadWrite = 0x01, ConsumerLevelHighShared = 0x09;

    private readonly List<byte> _bytes = [];

    /// <summary>The byte code so far.</summary>
    public byte[] ToArray() => [.. _bytes];

    /// <summary>Scope (path) { ... }</summary>
    public void Scope(string path, Action<AmlWriter> content) => Block([ScopeOp], path, content);

    /// <summary>Device (name) { ... }</summary>
    public void Device(string name, Action<AmlWriter> content) => Block([ExtendedPrefix, DeviceOp], name, content);

    /// <summary>Name (name, integer)</summary>
    public void Name(string name, ulong value)
    {
        StartName(name);
        Integer(value);
    }

    /// <summary>Name (name, "text")</summary>
    public void Name(string name, string text)
    {
        StartName(name);
        _bytes.Add(StringPrefix);
        _bytes.AddRange(Encoding.ASCII.GetBytes(text));
        _bytes.Add(0);
    }

    /// <summary>Name (name, Package () { integers })</summary>
    public void NamePackage(string name, params ReadOnlySpan<ulong> values)
    {
        StartName(name);
        var content = new AmlWriter();
        content._bytes.Add((byte)values.Length);
        foreach (var value in values) content.Integer(value);
        _bytes.Add(PackageOp);
        WithLength(content);
    }

    /// <summary>Name (_HID or _CID, ...): an EISA id where it has the form of one (PNP0501), else the string (LNRO0005).</summary>
    public void NameId(string name, string id)
    {
        if (id is [_, _, _, _, _, _, _] && id.AsSpan(0, 3).ContainsAnyExceptInRange('A', 'Z') is false && ushort.TryParse(id.AsSpan(3), System.Globalization.NumberStyles.AllowHexSpecifier, null, out var product))
        {
            var letters = (id[0] - '@' & 0x1F) << 10 | (id[1] - '@' & 0x1F) << 5 | id[2] - '@' & 0x1F;
            Name(name, BinaryPrimitives.ReverseEndianness((uint)letters << 16 | product));
        }
        else
        {
            Name(name, id);
        }
    }

    /// <summary>Name (_CRS, ResourceTemplate () { ... })</summary>
    public void Resources(Action<AmlWriter> content)
    {
        StartName("_CRS");
        var template = new AmlWriter();
        content(template);
        template._bytes.Add(EndTag);
        template._bytes.Add(0); // a checksum of zero counts as right
        var buffer = new AmlWriter();
        buffer.Integer((ulong)template._bytes.Count);
        buffer._bytes.AddRange(template._bytes);
        _bytes.Add(BufferOp);
        WithLength(buffer);
    }

    /// <summary>Name (name, Package () { Package () { integers } ... })</summary>
    public void NamePackages(string name, IReadOnlyCollection<ulong[]> packages)
    {
        StartName(name);
        var content = new AmlWriter();
        content._bytes.Add((byte)packages.Count);
        foreach (var values in packages)
        {
            var inner = new AmlWriter();
            inner._bytes.Add((byte)values.Length);
            foreach (var value in values) inner.Integer(value);
            content._bytes.Add(PackageOp);
            content.WithLength(inner);
        }

        _bytes.Add(PackageOp);
        WithLength(content);
    }

    /// <summary>IO (Decode16, port, port, 1, length)</summary>
    public void Io(ushort port, byte length)
    {
        _bytes.AddRange([IoDescriptor, Decode16]);
        Word(port);
        Word(port);
        _bytes.AddRange([1, length]);
    }

    /// <summary>IRQNoFlags () { irq }: edge-triggered, active high.</summary>
    public void Irq(int irq)
    {
        _bytes.Add(IrqDescriptor);
        Word((ushort)(1 << irq));
    }

    /// <summary>Memory32Fixed (ReadWrite, address, length)</summary>
    public void Memory32(uint address, uint length)
    {
        _bytes.Add(Memory32FixedDescriptor);
        Word(9);
        _bytes.Add(ReadWrite);
        DWord(address);
        DWord(length);
    }

    /// <summary>Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { gsi }</summary>
    public void SharedLevelInterrupt(int gsi)
    {
        _bytes.Add(ExtendedInterruptDescriptor);
        Word(6);
        _bytes.AddRange([ConsumerLevelHighShared, 1]);
        DWord((uint)gsi);
    }

    private void StartName(string name)
    {
        _bytes.Add(NameOp);
        Path(name);
    }

    private void Integer(ulong value)
    {
        switch (value)
        {
            case 0: _bytes.Add(ZeroOp); break;
            case 1: _bytes.Add(OneOp); break;
            case <= 0xFF: _bytes.AddRange([BytePrefix, (byte)value]); break;
            case <= 0xFFFF:
                _bytes.Add(WordPrefix);
                Word((ushort)value);
                break;
            case <= 0xFFFF_FFFF:
                _bytes.Add(DWordPrefix);
                DWord((uint)value);
                break;
            default:
                _bytes.Add(QWordPrefix);
                DWord((uint)value);
                DWord((uint)(value >> 32));
                break;
        }
    }

    private void Block(ReadOnlySpan<byte> operation, string path, Action<AmlWriter> content)
    {
        var inner = new AmlWriter();
        inner.Path(path);
        content(inner);
        foreach (var value in operation) _bytes.Add(value);
        WithLength(inner);
    }

    // PkgLength counts its own bytes: one for up to 63, else a lead byte with four bits and one to three more.
    private void WithLength(AmlWriter content)
    {
        var length = content._bytes.Count + 1;
        if (length <= 0x3F)
        {
            _bytes.Add((byte)length);
        }
        else
        {
            var extra = 1;
            while (content._bytes.Count + 1 + extra >= 1 << (4 + 8 * extra)) extra++;
            length = content._bytes.Count + 1 + extra;
            _bytes.Add((byte)(extra << 6 | length & 0xF));
            for (var i = 0; i < extra; i++) _bytes.Add((byte)(length >> (4 + 8 * i)));
        }

        _bytes.AddRange(content._bytes);
    }

    private void Path(string path)
    {
        if (path.StartsWith('\\'))
        {
            _bytes.Add((byte)'\\');
            path = path[1..];
        }

        var segments = path.Split('.');
        if (segments.Length == 2) _bytes.Add(DualNamePrefix);
        else if (segments.Length > 2) _bytes.AddRange([MultiNamePrefix, (byte)segments.Length]);
        foreach (var segment in segments) _bytes.AddRange(Encoding.ASCII.GetBytes(segment.PadRight(4, '_')));
    }

    private void Word(ushort value) => _bytes.AddRange([(byte)value, (byte)(value >> 8)]);

    private void DWord(uint value)
    {
        Word((ushort)value);
        Word((ushort)(value >> 16));
    }
}
