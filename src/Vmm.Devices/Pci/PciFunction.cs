// PCI Local Bus Specification 3.0, chapter 6 "Configuration Space" (header type 0), 2.2.6 "Interrupt Pins"; PCI Express Base 5.0, 7.5.1.
using System.Buffers.Binary;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;

namespace Vmm.Devices.Pci;

/// <summary>
/// A PCI function: derive from it, and describe it in the constructor by <see cref="AddBar"/>, <see cref="AddMsiX"/>, <see cref="AddMsi"/> and
/// <see cref="AddCapability"/>. This class owns configuration space, decoding and interrupts; what is derived serves the registers behind its
/// BARs and calls <see cref="RaiseInterrupt"/> or sets <see cref="InterruptLevel"/>. All of it runs under the lock of this object; see
/// docs/pci.md.
/// </summary>
public abstract partial class PciFunction : IDevice
{
    private readonly byte[] _config = new byte[PciSpec.ConfigSize];
    private readonly byte[] _powerOn = new byte[PciSpec.ConfigSize];
    private readonly byte[] _writable = new byte[PciSpec.ConfigSize];

    // Bits that change by themselves: saved and loaded, but not written by the guest.
    private readonly byte[] _live = new byte[PciSpec.ConfigSize];
    private readonly PciBar?[] _bars = new PciBar?[PciSpec.BarCount];
    private int _nextCapability = PciSpec.FirstCapability;
    private int _linkAt = PciSpec.CapabilitiesPointer;
    private bool _isMultiFunction;
    private int _savedAddress;
    private PciConnection? _connection;

    /// <summary>Makes a function with the registers that each has.</summary>
    /// <param name="identity">What it says it is.</param>
    protected PciFunction(PciIdentity identity)
    {
        Identity = identity;
        Word(PciSpec.VendorId, identity.Vendor);
        Word(PciSpec.DeviceId, identity.Device);
        Fixed(PciSpec.RevisionId, identity.Revision);
        for (var i = 0; i < 3; i++) Fixed(PciSpec.ClassCode + i, (byte)(identity.Class >> (8 * i)));
        Word(PciSpec.SubsystemVendorId, identity.SubsystemVendor);
        Word(PciSpec.SubsystemId, identity.Subsystem);
        BinaryPrimitives.WriteUInt16LittleEndian(_writable.AsSpan(PciSpec.Command), PciSpec.CommandWritable);
        _writable[PciSpec.CacheLineSize] = 0xFF;
        _writable[PciSpec.LatencyTimer] = 0xFF;
        _writable[PciSpec.InterruptLine] = 0xFF;
        _live[PciSpec.Status] = (byte)PciSpec.InterruptStatus;
    }

    /// <summary>What it says it is.</summary>
    public PciIdentity Identity { get; }

    /// <summary>Where it is: device number in bits 7:3, function number in bits 2:0; -1 while it is in no slot.</summary>
    public int Address => _connection?.Address ?? -1;

    /// <summary>The base address registers that it has, by index; null where there is none.</summary>
    public IReadOnlyList<PciBar?> Bars => _bars;

    /// <summary>Whether the guest lets it read and write memory. A device that does asks before each transfer.</summary>
    public bool IsBusMaster => (Command & PciSpec.BusMaster) != 0;

    /// <summary>The configuration space as it is now, for what is derived to change its own capabilities' bytes in.</summary>
    protected Span<byte> Config => _config;

    private ushort Command => BinaryPrimitives.ReadUInt16LittleEndian(_config.AsSpan(PciSpec.Command));

    /// <inheritdoc/>
    public virtual void Reset()
    {
        _powerOn.CopyTo(_config, 0);
        _interrupt = false;
        MsiX?.Reset();
        Update();
    }

    /// <inheritdoc/>
    /// <remarks>What is derived visits its own fields, with tags below 1000, and calls this.</remarks>
    public virtual void VisitState(StateVisitor visitor)
    {
        visitor.Array(1000, _config.AsSpan());
        visitor.Field(1001, ref _interrupt);
        if (MsiX is { } msix) visitor.Part(1002, msix);
        _savedAddress = Address;
        visitor.Field(1003, ref _savedAddress);
    }

    /// <inheritdoc/>
    /// <remarks>What is derived calls this first.</remarks>
    public virtual void OnStateLoaded()
    {
        if (_connection is not null && _savedAddress != Address)
        {
            throw new InvalidOperationException($"it was saved in slot {_savedAddress >> 3}.{_savedAddress & 7} and is in slot {Address >> 3}.{Address & 7}; plug it where it was");
        }

        // What a guest could not have changed is what it always is, whatever was saved.
        for (var i = 0; i < _config.Length; i++)
        {
            var free = (byte)(_writable[i] | _live[i]);
            _config[i] = (byte)(_powerOn[i] & ~free | _config[i] & free);
        }

        Update();
    }

    /// <summary>Adds a base address register.</summary>
    /// <param name="index">0 to 5; one of 64 bits takes the next too.</param>
    /// <param name="kind">What it claims.</param>
    /// <param name="size">Bytes, a power of two: at least 16 of memory or 4 ports, at most 256 ports.</param>
    /// <returns>The range, to map handlers into.</returns>
    /// <exception cref="ArgumentException">The register does not exist or is taken, or the size is wrong.</exception>
    protected PciBar AddBar(int index, PciBarKind kind, ulong size)
    {
        var bar = new PciBar(this, index, kind, size);
        if (index < 0 || index + (bar.Is64 ? 1 : 0) >= PciSpec.BarCount) throw new ArgumentOutOfRangeException(nameof(index), index, "BARs are 0 to 5, and one of 64 bits takes two.");
        if (_bars[index] is not null || (bar.Is64 && _bars[index + 1] is not null) || (index > 0 && _bars[index - 1] is { Is64: true })) throw new ArgumentException($"BAR {index} is taken.", nameof(index));
        _bars[index] = bar;
        var at = PciSpec.FirstBar + 4 * index;
        var prefetchable = kind is PciBarKind.Memory32Prefetchable or PciBarKind.Memory64Prefetchable;
        Fixed(at, (byte)(bar.IsIo ? PciSpec.BarIo : (bar.Is64 ? PciSpec.Bar64 : 0) | (prefetchable ? PciSpec.BarPrefetchable : 0)));
        BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(at), (uint)~(size - 1) & ~(bar.IsIo ? PciSpec.IoTypeBits : PciSpec.MemoryTypeBits));
        if (bar.Is64) BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(at + 4), (uint)(~(size - 1) >> 32));
        return bar;
    }

    /// <summary>Adds a capability to the list.</summary>
    /// <param name="id">Its id; 9 is vendor-specific.</param>
    /// <param name="body">What follows id and link.</param>
    /// <param name="writable">Which bits of the body the guest writes; may be shorter.</param>
    /// <returns>The offset of the capability in configuration space.</returns>
    /// <exception cref="InvalidOperationException">There is no room left in the first 256 bytes.</exception>
    protected int AddCapability(byte id, ReadOnlySpan<byte> body, ReadOnlySpan<byte> writable = default)
    {
        var at = _nextCapability;
        if (at + 2 + body.Length > PciSpec.EndOfCapabilities) throw new InvalidOperationException($"A capability of {body.Length + 2} bytes does not fit any more; a function has {PciSpec.EndOfCapabilities - PciSpec.FirstCapability} bytes for them.");
        Fixed(_linkAt, (byte)at);
        Fixed(at, id);
        for (var i = 0; i < body.Length; i++) Fixed(at + 2 + i, body[i]);
        writable.CopyTo(_writable.AsSpan(at + 2, body.Length));
        Fixed(PciSpec.Status, (byte)PciSpec.CapabilitiesList);
        _linkAt = at + 1;
        _nextCapability = (at + 2 + body.Length + 3) & ~3;
        return at;
    }

    /// <summary>Lets the guest write bits that this class does not know, or all of an area of the function's own.</summary>
    /// <param name="offset">Offset in configuration space.</param>
    /// <param name="mask">The writable bits of each byte.</param>
    protected void SetWritable(int offset, ReadOnlySpan<byte> mask) => mask.CopyTo(_writable.AsSpan(offset));

    /// <summary>The guest is about to read configuration space: the last moment to change what it will see.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="size">1, 2, 4 or 8 bytes, all within the space.</param>
    protected virtual void OnConfigReading(int offset, int size) { }

    /// <summary>The guest has written configuration space; the bits that can be written have changed.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="size">1, 2, 4 or 8 bytes, all within the space.</param>
    protected virtual void OnConfigWritten(int offset, int size) { }

    /// <summary>The guest reads configuration space. Under the lock.</summary>
    /// <param name="offset">The first byte; any alignment.</param>
    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    /// <returns>The value; ones where there is no such space.</returns>
    public ulong ReadConfig(int offset, int size)
    {
        if (offset < 0 || offset > _config.Length - size) return ulong.MaxValue;
        OnConfigReading(offset, size);
        ulong value = 0;
        for (var i = 0; i < size; i++) value |= (ulong)_config[offset + i] << (8 * i);
        return value;
    }

    /// <summary>The guest writes configuration space. Under the lock.</summary>
    /// <param name="offset">The first byte; any alignment.</param>
    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    /// <param name="value">The value.</param>
    public void WriteConfig(int offset, int size, ulong value)
    {
        if (offset < 0 || offset > _config.Length - size) return;
        for (var i = 0; i < size; i++)
        {
            var mask = _writable[offset + i];
            _config[offset + i] = (byte)(_config[offset + i] & ~mask | (byte)(value >> (8 * i)) & mask);
        }

        if (offset < PciSpec.EndOfBars || IsInterruptControl(offset, size)) Update();
        OnConfigWritten(offset, size);
    }

    /// <summary>Puts the function into a slot; what reaches it from there on is the guest's.</summary>
    internal void Connect(PciConnection connection)
    {
        if (_connection is not null) throw new InvalidOperationException("The function is in a slot already; make one for each slot.");
        _connection = connection;
        if (_usesLine) Fixed(PciSpec.InterruptPin, (byte)(1 + (connection.Address & 3)));
        Fixed(PciSpec.InterruptLine, _usesLine ? connection.LineNumber : (byte)0);
    }

    /// <summary>Takes the function out of its slot: it claims nothing and signals nothing any more.</summary>
    internal void Disconnect()
    {
        lock (this)
        {
            if (_connection is not { } connection) return;
            foreach (var bar in _bars)
            {
                if (bar is not null) connection.Decoder.Place(bar, null);
            }

            connection.Line.Level = false;
            _connection = null;
        }
    }

    /// <summary>Tells function 0 of a device whether it has brothers.</summary>
    internal void SetMultiFunction(bool value)
    {
        if (_isMultiFunction == value) return;
        _isMultiFunction = value;
        var bits = (byte)(value ? PciSpec.MultiFunction : 0);
        _powerOn[PciSpec.HeaderType] = bits;
        _config[PciSpec.HeaderType] = bits;
    }

    // Everything that follows from configuration space: what is decoded, and the interrupt line.
    private void Update()
    {
        if (_connection is not { } connection) return;
        var command = Command;
        for (var i = 0; i < _bars.Length; i++)
        {
            if (_bars[i] is not { } bar) continue;
            var at = PciSpec.FirstBar + 4 * i;
            ulong address = BinaryPrimitives.ReadUInt32LittleEndian(_config.AsSpan(at)) & ~(bar.IsIo ? PciSpec.IoTypeBits : PciSpec.MemoryTypeBits);
            if (bar.Is64) address |= (ulong)BinaryPrimitives.ReadUInt32LittleEndian(_config.AsSpan(at + 4)) << 32;
            var enabled = (command & (bar.IsIo ? PciSpec.IoSpace : PciSpec.MemorySpace)) != 0;
            connection.Decoder.Place(bar, enabled ? address : null);
        }

        UpdateInterrupts(connection, command);
    }

    private void Fixed(int offset, byte value)
    {
        _powerOn[offset] |= value;
        _config[offset] |= value;
    }

    private void Word(int offset, ushort value)
    {
        Fixed(offset, (byte)value);
        Fixed(offset + 1, (byte)(value >> 8));
    }
}
