// QEMU docs/specs/fw_cfg.rst: "QEMU Firmware Configuration (fw_cfg) Device", I/O port interface and DMA interface.
using System.Buffers.Binary;
using System.Text;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.Memory;
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>
/// What the host tells firmware: numbered items and named files, read byte by byte or by DMA. Everything is read-only. A
/// selector without an item reads as zeros, and so does every item past its end.
/// </summary>
public sealed class FwCfg : IDevice
{
    /// <summary>The most bytes that one DMA request may transfer: a bound on the work of one port write.</summary>
    public const int MaxTransfer = 16 << 20;

    /// <summary>The longest name of a file, in bytes.</summary>
    public const int MaxNameLength = 55;

    /// <summary>The number of ports of <see cref="SelectorPorts"/>.</summary>
    public const uint SelectorLength = 2;

    /// <summary>The number of ports of <see cref="DmaPorts"/>.</summary>
    public const uint DmaLength = 8;

    /// <summary>Item: number of processors, 16 bits.</summary>
    public const ushort ProcessorCount = 0x05;

    /// <summary>Item: most processors there may be, 16 bits.</summary>
    public const ushort MaximumProcessors = 0x0F;

    /// <summary>Item: bytes of RAM, 64 bits.</summary>
    public const ushort RamSize = 0x03;

    private const ushort Signature = 0x00, Id = 0x01, FileDirectory = 0x19, FirstFile = 0x20;
    private const int MaximumFiles = 0x1000, DirectoryEntryLength = 64, DmaDescriptorLength = 16;
    private const uint HasTraditional = 1, HasDma = 2;
    private const uint DmaError = 1, DmaRead = 2, DmaSkip = 4, DmaSelect = 8, DmaWrite = 16;
    private const int DmaSelectorShift = 16;

    private struct State
    {
        public uint Offset, DmaHigh;
        public ushort Selected;
    }

    private readonly Dictionary<ushort, ReadOnlyMemory<byte>> _items = [];
    private readonly SortedDictionary<string, ReadOnlyMemory<byte>> _files = new(StringComparer.Ordinal);
    private readonly GuestMemory _memory;
    private State _s;

    /// <summary>Makes the device, without items but the signature.</summary>
    /// <param name="memory">Where DMA goes.</param>
    public FwCfg(GuestMemory memory)
    {
        _memory = memory;
        SelectorPorts = new Selector(this);
        DmaPorts = new Dma(this);
        _items[Signature] = "QEMU"u8.ToArray();
        _items[Id] = Little(HasTraditional | HasDma, 4);
        IndexFiles();
    }

    /// <summary>The selector and data ports (0x510 on a PC). Map it with this device as the gate.</summary>
    public IIoHandler SelectorPorts { get; }

    /// <summary>The DMA address register (0x514 on a PC). Map it with this device as the gate.</summary>
    public IIoHandler DmaPorts { get; }

    /// <summary>Sets a numbered item to a number.</summary>
    /// <param name="key">Its selector, below 0x19.</param>
    /// <param name="value">The number.</param>
    /// <param name="bytes">How many bytes it has: 1 to 8.</param>
    public void SetItem(ushort key, ulong value, int bytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(key, FileDirectory);
        lock (this) _items[key] = Little(value, bytes);
    }

    /// <summary>Sets a file; its selector follows from the order of the names.</summary>
    /// <param name="name">Such as "etc/e820" or "opt/org.example/seed"; at most <see cref="MaxNameLength"/> ASCII characters.</param>
    /// <param name="content">The bytes; not copied.</param>
    /// <exception cref="ArgumentException">The name is empty, too long or not ASCII, or there are too many files.</exception>
    public void SetFile(string name, ReadOnlyMemory<byte> content)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (name.Length is 0 or > MaxNameLength || !Ascii.IsValid(name) || name.Contains('\0')) throw new ArgumentException($"'{name}' cannot be the name of a firmware file; use 1 to {MaxNameLength} ASCII characters.", nameof(name));
        lock (this)
        {
            if (_files.Count == MaximumFiles && !_files.ContainsKey(name)) throw new ArgumentException($"There are {MaximumFiles} firmware files already; use fewer.", nameof(name));
            _files[name] = content;
            IndexFiles();
        }
    }

    /// <inheritdoc/>
    public void Reset() => _s = default;

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Selected);
        visitor.Field(2, ref _s.Offset);
        visitor.Field(3, ref _s.DmaHigh);
    }

    private static byte[] Little(ulong value, int bytes)
    {
        var all = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(all, value);
        return all[..bytes];
    }

    private void IndexFiles()
    {
        foreach (var key in _items.Keys.Where(k => k >= FirstFile).ToArray()) _items.Remove(key);
        var directory = new byte[4 + _files.Count * DirectoryEntryLength];
        BinaryPrimitives.WriteInt32BigEndian(directory, _files.Count);
        var selector = FirstFile;
        var at = 4;
        foreach (var (name, content) in _files)
        {
            _items[selector] = content;
            var entry = directory.AsSpan(at, DirectoryEntryLength);
            BinaryPrimitives.WriteInt32BigEndian(entry, content.Length);
            BinaryPrimitives.WriteUInt16BigEndian(entry[4..], selector++);
            Encoding.ASCII.GetBytes(name, entry[8..]);
            at += DirectoryEntryLength;
        }

        _items[FileDirectory] = directory;
    }

    private void Select(ushort key) => (_s.Selected, _s.Offset) = (key, 0);

    // The rest of the selected item.
    private ReadOnlySpan<byte> Rest => _items.TryGetValue(_s.Selected, out var item) && _s.Offset < item.Length ? item.Span[(int)_s.Offset..] : [];

    private void Skip(uint bytes) => _s.Offset = (uint)Math.Min((ulong)_s.Offset + bytes, int.MaxValue);

    private byte ReadData()
    {
        var rest = Rest;
        Skip(1);
        return rest.IsEmpty ? (byte)0 : rest[0];
    }

    private void StartDma(ulong address)
    {
        // The descriptor is copied once: another vCPU may be changing it.
        Span<byte> descriptor = stackalloc byte[DmaDescriptorLength];
        if (!_memory.TryRead(address, descriptor)) return;
        var control = BinaryPrimitives.ReadUInt32BigEndian(descriptor);
        var length = BinaryPrimitives.ReadUInt32BigEndian(descriptor[4..]);
        var target = BinaryPrimitives.ReadUInt64BigEndian(descriptor[8..]);
        if ((control & DmaSelect) != 0) Select((ushort)(control >> DmaSelectorShift));
        var done = true;
        if ((control & DmaRead) != 0) done = ReadTo(target, length);
        else if ((control & DmaWrite) != 0) done = false;
        else if ((control & DmaSkip) != 0) Skip(length);
        _memory.TryWrite(address, BinaryPrimitives.ReverseEndianness(done ? 0 : DmaError));
    }

    private bool ReadTo(ulong target, uint length)
    {
        if (length > MaxTransfer || target > ulong.MaxValue - length || !_memory.IsRam(target, length)) return false;
        var copied = Math.Min((uint)Rest.Length, length);
        var done = _memory.TryWrite(target, Rest[..(int)copied]) && _memory.TryFill(target + copied, length - copied, 0);
        Skip(length);
        return done;
    }

    private sealed class Selector(FwCfg device) : IIoHandler
    {
        public ulong Read(uint offset, int size) => offset == 1 ? device.ReadData() : 0ul;

        public void Write(uint offset, int size, ulong value)
        {
            if (offset == 0 && size == 2) device.Select((ushort)value);
        }

        public override string ToString() => nameof(FwCfg);
    }

    private sealed class Dma(FwCfg device) : IIoHandler
    {
        private const ulong Mark = 0x47464320_554D4551; // "QEMU CFG", the first letter at the lowest port

        public ulong Read(uint offset, int size) => Mark >> (int)(offset * 8);

        public void Write(uint offset, int size, ulong value)
        {
            if (offset == 0 && size == 8)
            {
                device.StartDma(BinaryPrimitives.ReverseEndianness(value));
            }
            else if (offset == 0 && size == 4)
            {
                device._s.DmaHigh = BinaryPrimitives.ReverseEndianness((uint)value);
            }
            else if (offset == 4 && size == 4)
            {
                var high = device._s.DmaHigh;
                device._s.DmaHigh = 0;
                device.StartDma((ulong)high << 32 | BinaryPrimitives.ReverseEndianness((uint)value));
            }
        }

        public override string ToString() => nameof(FwCfg);
    }
}
