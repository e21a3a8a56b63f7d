using Vmm.Core.Buses;
using Vmm.Devices.Virtio;

namespace Vmm.TestSupport.Virtio;

/// <summary>
/// The driver's side of virtio-pci, found by its capabilities as a real driver finds it. Vector 0 is the configuration's, vector n + 1 queue n's; each sends its
/// number as the message's data.
/// </summary>
public sealed class PciDriverTransport : DriverTransport
{
    public const ulong MessageAddress = 0xFEE0_0000;

    private readonly ulong _config;
    private readonly List<MsiMessage> _messages;
    private readonly Dictionary<int, ulong> _structures = [];
    private uint _multiplier;

    public PciDriverTransport(SystemBus bus, ulong config, uint bars, List<MsiMessage> messages) : base(bus)
    {
        (_config, _messages) = (config, messages);
        PlaceBars(bars);
        FindStructures();
        SetUpMessages();
        Windows = [(config, 0x1000), (BarAt(0), 0x4000), (BarAt(1), 0x1000)];
    }

    public override IReadOnlyList<(ulong Start, ulong Length)> Windows { get; }

    /// <summary>Offset in configuration space of the capability for access by way of it.</summary>
    public int PciAccess { get; private set; }

    /// <summary>Offset in configuration space of the MSI-X capability.</summary>
    public int MessageCapability { get; private set; }

    public ulong Common => _structures[1];

    public ulong Isr => _structures[3];

    public override VirtioStatus Status { get => (VirtioStatus)Bus.Mmio.Read(Common + 0x14, 1); set => Bus.Mmio.Write(Common + 0x14, 1, (byte)value); }

    public override int QueueSizeMaximum => (int)Bus.Mmio.Read(Common + 0x18, 2);

    public override bool IsQueueReady => Bus.Mmio.Read(Common + 0x1C, 2) != 0;

    public override bool IsQueueResetting => Bus.Mmio.Read(Common + 0x3A, 2) != 0;

    public override ulong ConfigAddress => _structures[4];

    public override uint ReadFeatures(uint select)
    {
        Bus.Mmio.Write(Common, 4, select);
        return (uint)Bus.Mmio.Read(Common + 4, 4);
    }

    public override void WriteFeatures(uint select, uint value)
    {
        Bus.Mmio.Write(Common + 8, 4, select);
        Bus.Mmio.Write(Common + 0xC, 4, value);
    }

    public override void SelectQueue(uint index) => Bus.Mmio.Write(Common + 0x16, 2, index);

    public override void SetQueueSize(uint size) => Bus.Mmio.Write(Common + 0x18, 2, size);

    public override void SetQueueAreas(ulong descriptors, ulong driver, ulong device)
    {
        Bus.Mmio.Write(Common + 0x20, 8, descriptors);
        Bus.Mmio.Write(Common + 0x28, 4, (uint)driver);
        Bus.Mmio.Write(Common + 0x2C, 4, (uint)(driver >> 32));
        Bus.Mmio.Write(Common + 0x30, 8, device);
    }

    public override void EnableQueue()
    {
        Bus.Mmio.Write(Common + 0x1A, 2, Bus.Mmio.Read(Common + 0x16, 2) + 1);
        Bus.Mmio.Write(Common + 0x10, 2, 0);
        Bus.Mmio.Write(Common + 0x1C, 2, 1);
    }

    public override void ResetQueue() => Bus.Mmio.Write(Common + 0x3A, 2, 1);

    public override void Notify(uint index) => Bus.Mmio.Write(_structures[2] + index * _multiplier, 2, index);

    public override bool TakeInterrupt(int? queue)
    {
        var data = queue is { } q ? (uint)q + 1 : 0;
        return _messages.RemoveAll(m => m.Data == data && m.Address == MessageAddress) > 0;
    }

    public ulong ReadPci(int offset, int size) => Bus.Mmio.Read(_config + (uint)offset, size);

    public void WritePci(int offset, int size, ulong value) => Bus.Mmio.Write(_config + (uint)offset, size, value);

    /// <summary>Where a BAR is.</summary>
    public ulong BarAt(int bar) => ReadPci(0x10 + 4 * bar, 4) & ~0xFUL;

    private void PlaceBars(uint at)
    {
        for (var bar = 0; bar < 2; bar++)
        {
            WritePci(0x10 + 4 * bar, 4, uint.MaxValue);
            var size = ~((uint)ReadPci(0x10 + 4 * bar, 4) & ~0xFu) + 1;
            at = (at + size - 1) & ~(size - 1);
            WritePci(0x10 + 4 * bar, 4, at);
            at += size;
        }

        WritePci(4, 2, 6); // memory space and bus master
    }

    private void FindStructures()
    {
        for (var at = (int)ReadPci(0x34, 1); at != 0; at = (int)ReadPci(at + 1, 1))
        {
            var id = ReadPci(at, 1);
            if (id == 0x11) MessageCapability = at;
            if (id != 9) continue;
            var type = (int)ReadPci(at + 3, 1);
            if (type == 5) PciAccess = at;
            else _structures[type] = BarAt((int)ReadPci(at + 4, 1)) + ReadPci(at + 8, 4);
            if (type == 2) _multiplier = (uint)ReadPci(at + 16, 4);
        }
    }

    private void SetUpMessages()
    {
        var vectors = (uint)(ReadPci(MessageCapability + 2, 2) & 0x7FF) + 1;
        for (uint vector = 0; vector < vectors; vector++)
        {
            var entry = BarAt(1) + vector * 16;
            Bus.Mmio.Write(entry, 8, MessageAddress);
            Bus.Mmio.Write(entry + 8, 4, vector);
            Bus.Mmio.Write(entry + 12, 4, 0);
        }

        WritePci(MessageCapability + 2, 2, 0x8000);
    }
}
