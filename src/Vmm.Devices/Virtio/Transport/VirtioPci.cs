// Virtio 1.3, 4.1 "Virtio Over PCI Bus", without the legacy interface.
using Vmm.Core.Boards;
using Vmm.Core.Memory;
using Vmm.Core.State;
using Vmm.Devices.Pci;
using Vmm.Devices.Virtio.Queues;

namespace Vmm.Devices.Virtio.Transport;

/// <summary>
/// A virtio device as a PCI function. BAR 0 holds its registers: common configuration, interrupt status, device configuration, and a
/// notification address for each queue; BAR 1 the MSI-X table, with a vector for each queue and one for the configuration. The capability
/// for access by way of configuration space reaches BAR 0. Without MSI-X it interrupts by its pin.
/// </summary>
public sealed class VirtioPci : PciFunction, IVirtioTransport, IDisposable
{
    /// <summary>Offsets of the four structures in BAR 0.</summary>
    public const uint CommonOffset = 0x0000, IsrOffset = 0x1000, DeviceOffset = 0x2000, NotifyOffset = 0x3000;

    /// <summary>Bytes from one queue's notification address to the next.</summary>
    public const uint NotifyMultiplier = 4;

    /// <summary>The vector that means none.</summary>
    public const ushort NoVector = 0xFFFF;

    private const ushort Vendor = 0x1AF4, FirstDevice = 0x1040, Subsystem = 0x1100;
    private const byte Revision = 1, VendorCapability = 9;
    private const byte CommonConfig = 1, NotifyConfig = 2, IsrConfig = 3, DeviceConfig = 4, PciConfig = 5;
    private const uint RegistersLength = 0x4000, IsrLength = 4;
    private const int AccessBar = 4, AccessOffset = 8, AccessLength = 12, AccessData = 16, AccessEnd = 20;
    private const byte QueueInterrupt = 1, ConfigInterrupt = 2;

    private struct State
    {
        public byte Interrupts;
        public ushort ConfigVector;
    }

    private static State PowerOn => new() { ConfigVector = NoVector };

    private readonly VirtioDevice _device;
    private readonly PciBar _registers;
    private readonly int _access;
    private State _s = PowerOn;

    /// <summary>Makes a device a PCI function.</summary>
    /// <param name="device">The device, not connected yet.</param>
    /// <param name="memory">Guest memory.</param>
    /// <param name="options">What is offered; null for the defaults.</param>
    /// <param name="machine">The machine, whose inlets carry what comes from outside; null in a test without one.</param>
    public VirtioPci(VirtioDevice device, GuestMemory memory, VirtioOptions? options = null, MachineContext? machine = null)
        : base(new PciIdentity(Vendor, (ushort)(FirstDevice + device.DeviceId), device.PciClass, Revision, Vendor, Subsystem))
    {
        _device = device;
        Control = device.Control;
        _registers = AddBar(0, PciBarKind.Memory32, RegistersLength);
        _registers.Map(CommonOffset, VirtioPciRegisters.Length, new VirtioPciRegisters(this));
        _registers.Map(IsrOffset, IsrLength, new VirtioPciWindow(ReadInterrupts, null));
        _registers.Map(DeviceOffset, VirtqueueLimits.ConfigBytes, new VirtioPciWindow(Control.ReadConfig, Control.WriteConfig));
        AddStructure(CommonConfig, CommonOffset, VirtioPciRegisters.Length);
        AddStructure(IsrConfig, IsrOffset, IsrLength);
        AddStructure(DeviceConfig, DeviceOffset, VirtqueueLimits.ConfigBytes);
        var queues = (uint)device.Queues.Count;
        if (queues > 0)
        {
            _registers.Map(NotifyOffset, queues * NotifyMultiplier, new VirtioPciWindow(null, (offset, _, _) => Control.Notify(offset / NotifyMultiplier)));
            for (var i = 0; i < queues; i++)
            {
                var index = i;
                _registers.AddDoorbell(NotifyOffset + (uint)i * NotifyMultiplier, 2, null, () => Control.Ring(index));
            }
        }

        AddStructure(NotifyConfig, NotifyOffset, queues * NotifyMultiplier, [(byte)NotifyMultiplier, 0, 0, 0]);
        Span<byte> writable = stackalloc byte[AccessEnd - 2];
        writable[AccessBar - 2] = 0xFF;
        writable[(AccessOffset - 2)..].Fill(0xFF);
        _access = AddCapability(VendorCapability, [AccessEnd, PciConfig, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], writable);
        AddMessages((int)queues + 1);
        UseInterruptLine();
        Control.Connect(this, memory, options ?? new VirtioOptions(), machine);
    }

    internal VirtioControl Control { get; }

    internal int QueueCount => _device.Queues.Count;

    /// <summary>The vector of configuration changes; one that does not exist becomes none, and the driver reads that.</summary>
    internal ushort ConfigVector { get => _s.ConfigVector; set => _s.ConfigVector = Vector(value); }

    bool IVirtioTransport.MayTransfer => IsBusMaster;

    /// <inheritdoc/>
    public override void Reset()
    {
        base.Reset();
        Control.Reset();
        ForgetInterrupts();
    }

    /// <summary>Disposes the device if it is disposable.</summary>
    public void Dispose() => (_device as IDisposable)?.Dispose();

    /// <inheritdoc/>
    public override void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Interrupts);
        visitor.Field(2, ref _s.ConfigVector);
        visitor.Part(3, Control);
        base.VisitState(visitor);
    }

    /// <inheritdoc/>
    public override void OnStateLoaded()
    {
        base.OnStateLoaded();
        _s.Interrupts &= QueueInterrupt | ConfigInterrupt;
        _s.ConfigVector = Vector(_s.ConfigVector);
        foreach (var queue in _device.Queues) queue.Registers.Vector = Vector(queue.Registers.Vector);
        InterruptLevel = _s.Interrupts != 0;
    }

    void IVirtioTransport.SignalQueue(Virtqueue queue) => Raise(queue.Registers.Vector, QueueInterrupt);

    void IVirtioTransport.SignalConfig() => Raise(_s.ConfigVector, ConfigInterrupt);

    /// <summary>A vector that the driver gives; none where the function has no such vector.</summary>
    internal ushort Vector(ushort value) => value < MsiX!.Vectors ? value : NoVector;

    internal void WriteStatus(VirtioStatus value)
    {
        Control.WriteStatus(value);
        if (value == VirtioStatus.None) ForgetInterrupts();
    }

    /// <inheritdoc/>
    protected override void OnConfigReading(int offset, int size)
    {
        if (!Overlaps(offset, size) || !TryAccess(out var at, out var length)) return;
        var value = _registers.Read(at, length);
        for (var i = 0; i < length; i++) Config[_access + AccessData + i] = (byte)(value >> (8 * i));
    }

    /// <inheritdoc/>
    protected override void OnConfigWritten(int offset, int size)
    {
        if (!Overlaps(offset, size) || !TryAccess(out var at, out var length)) return;
        ulong value = 0;
        for (var i = 0; i < length; i++) value |= (ulong)Config[_access + AccessData + i] << (8 * i);
        _registers.Write(at, length, value);
    }

    private bool Overlaps(int offset, int size) => offset < _access + AccessEnd && _access + AccessData < offset + size;

    // 4.1.4.9: bar, offset and length are the guest's; what is not a register access of BAR 0 is none.
    private bool TryAccess(out uint offset, out int length)
    {
        offset = System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(Config[(_access + AccessOffset)..]);
        var size = System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(Config[(_access + AccessLength)..]);
        length = (int)size;
        return Config[_access + AccessBar] == 0 && size is 1 or 2 or 4 && offset % size == 0 && offset <= RegistersLength - size;
    }

    private void AddStructure(byte type, uint offset, uint length, ReadOnlySpan<byte> more = default)
    {
        Span<byte> body = stackalloc byte[14 + more.Length];
        body[0] = (byte)(body.Length + 2);
        body[1] = type;
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(body[6..], offset);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(body[10..], length);
        more.CopyTo(body[14..]);
        AddCapability(VendorCapability, body);
    }

    private void AddMessages(int vectors)
    {
        var table = (uint)vectors * MsiX.EntrySize;
        var pending = (uint)(vectors + 63) / 64 * 8;
        AddMsiX(AddBar(1, PciBarKind.Memory32, System.Numerics.BitOperations.RoundUpToPowerOf2(Math.Max(table + pending, MemoryRegion.PageSize))), vectors, 0, table);
    }

    private void Raise(ushort vector, byte cause)
    {
        if (RaiseInterrupt(vector)) return;
        _s.Interrupts |= cause;
        InterruptLevel = true;
    }

    private ulong ReadInterrupts(uint offset, int size)
    {
        if (offset != 0) return 0;
        ulong value = _s.Interrupts;
        _s.Interrupts = 0;
        InterruptLevel = false;
        return value;
    }

    private void ForgetInterrupts()
    {
        _s = PowerOn;
        InterruptLevel = false;
    }
}
