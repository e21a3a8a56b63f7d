// Intel 82093AA I/O APIC data sheet (290566-001); EOI register and version 0x20: Intel 8-series chipset data sheet, 13.5.
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>
/// The I/O APIC: 24 inputs, each with a redirection entry, sent to the local APICs as messages. Wires carry "asserted", so the
/// polarity bit is stored without effect. By the data sheet an edge on a masked input is forgotten, a level is not. One
/// assertion of a level-triggered input is one message until its end of interrupt, so a stuck line cannot flood the host.
/// </summary>
public sealed class IoApic : IDevice, IIoHandler, IInterruptSink
{
    /// <summary>The number of inputs.</summary>
    public const int InputCount = 24;

    /// <summary>The size of its window of memory-mapped registers, in bytes.</summary>
    public const uint WindowLength = 0x1000;

    private const uint Select = 0x00, Data = 0x10, Eoi = 0x40;
    private const int IdRegister = 0, VersionRegister = 1, ArbitrationRegister = 2, FirstEntry = 0x10;
    private const uint Version = 0x20, IdMask = 0x0F00_0000;
    private const ulong VectorMask = 0xFF, DeliveryMask = 0x700, Logical = 1 << 11, RemoteIrr = 1 << 14, Level = 1 << 15, Masked = 1 << 16;
    private const ulong Writable = 0xFF00_0000_0001_AFFF;
    private const int DestinationShift = 56;
    private const ulong FixedDelivery = 0 << 8, LowestPriority = 1 << 8, ReservedDelivery3 = 3 << 8, ReservedDelivery6 = 6 << 8;
    private const ulong MessageBase = 0xFEE0_0000;
    private const uint MessageAssert = 1 << 14, MessageLevel = 1 << 15;

    private struct State
    {
        public uint Select, Id, Lines;
    }

    private readonly ulong[] _entries = new ulong[InputCount];
    private readonly Action<MsiMessage> _send;
    private State _s;

    /// <summary>Makes the I/O APIC.</summary>
    /// <param name="send">Delivers a message to the local APICs; called under the device's lock, must not call back.</param>
    public IoApic(Action<MsiMessage> send)
    {
        _send = send;
        Array.Fill(_entries, Masked);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _s = new State { Lines = _s.Lines };
        Array.Fill(_entries, Masked);
    }

    /// <inheritdoc/>
    public ulong Read(uint offset, int size) => offset switch
    {
        Select => _s.Select,
        Data => ReadRegister((int)_s.Select),
        _ => ulong.MaxValue,
    };

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value)
    {
        if (offset == Select) _s.Select = (byte)value;
        else if (size < 4) return; // "all accesses must be 32 bits wide": a narrow one to a data register has no defined effect
        else if (offset == Data) WriteRegister((int)_s.Select, (uint)value);
        else if (offset == Eoi) EndOfInterrupt((byte)value);
    }

    /// <inheritdoc/>
    public void SetInput(int input, bool level)
    {
        if (input is < 0 or >= InputCount) return;
        lock (this)
        {
            var bit = 1u << input;
            var rises = level && (_s.Lines & bit) == 0;
            _s.Lines = level ? _s.Lines | bit : _s.Lines & ~bit;
            if ((_entries[input] & Level) != 0) ServeLevel(input);
            else if (rises && (_entries[input] & Masked) == 0) Send(_entries[input]);
        }
    }

    /// <summary>A local APIC has seen the end of a level-triggered interrupt. Any thread.</summary>
    /// <param name="vector">Its vector; entries with another are not touched.</param>
    public void EndOfInterrupt(byte vector)
    {
        lock (this)
        {
            for (var i = 0; i < InputCount; i++)
            {
                if ((_entries[i] & (RemoteIrr | Level | VectorMask)) != (RemoteIrr | Level | vector)) continue;
                _entries[i] &= ~RemoteIrr;
                ServeLevel(i);
            }
        }
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Select);
        visitor.Field(2, ref _s.Id);
        visitor.Field(3, ref _s.Lines);
        visitor.Array(4, _entries.AsSpan());
    }

    /// <inheritdoc/>
    public void OnStateLoaded()
    {
        _s.Select &= 0xFF;
        _s.Id &= IdMask;
        foreach (ref var entry in _entries.AsSpan()) entry &= Writable | RemoteIrr;
    }

    private uint ReadRegister(int register)
    {
        var entry = register - FirstEntry;
        if (entry is >= 0 and < InputCount * 2) return (uint)(_entries[entry / 2] >> (entry % 2 * 32));
        return register switch
        {
            IdRegister or ArbitrationRegister => _s.Id,
            VersionRegister => (InputCount - 1) << 16 | Version,
            _ => uint.MaxValue,
        };
    }

    private void WriteRegister(int register, uint value)
    {
        if (register == IdRegister) _s.Id = value & IdMask;
        var entry = register - FirstEntry;
        if (entry is < 0 or >= InputCount * 2) return;
        ref var e = ref _entries[entry / 2];
        var shift = entry % 2 * 32;
        var writable = Writable & (0xFFFF_FFFFUL << shift);
        e = (e & ~writable) | ((ulong)value << shift & writable);
        // Software without the EOI register acknowledges by making the entry edge-triggered for a moment.
        if ((e & Level) == 0) e &= ~RemoteIrr;
        else ServeLevel(entry / 2);
    }

    private void ServeLevel(int input)
    {
        ref var e = ref _entries[input];
        if ((_s.Lines >> input & 1) == 0 || (e & (Masked | RemoteIrr | Level)) != Level) return;
        // Only fixed and lowest-priority interrupts are ever ended by an EOI.
        if ((e & DeliveryMask) is FixedDelivery or LowestPriority) e |= RemoteIrr;
        Send(e);
    }

    private void Send(ulong entry)
    {
        var delivery = entry & DeliveryMask;
        if (delivery is ReservedDelivery3 or ReservedDelivery6) return;
        var address = MessageBase | (entry >> DestinationShift) << 12;
        if ((entry & Logical) != 0) address |= 1 << 2;
        if (delivery == LowestPriority) address |= 1 << 3;
        var data = (uint)(entry & (VectorMask | DeliveryMask));
        if ((entry & Level) != 0) data |= MessageLevel | MessageAssert;
        _send(new MsiMessage(address, data));
    }
}
