using Vmm.Core.State;
using Vmm.Devices.Virtio;
using Vmm.TestSupport.Virtio;
using Buffer = Vmm.TestSupport.Virtio.Buffer;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>Status, negotiation, configuration and interrupts on both transports.</summary>
public class TransportTests
{
    private const ulong In = VirtioBench.Data, Out = VirtioBench.Data + 0x1000;

    public static TheoryData<VirtioTransportKind> Transports => [VirtioTransportKind.Mmio, VirtioTransportKind.Pci];

    [Theory]
    [MemberData(nameof(Transports))]
    public void Driver_ThatDoesAllRight_IsServedAndInterrupted(VirtioTransportKind kind)
    {
        using var bench = Bench(kind);
        bench.Driver.Start(2, 16);
        bench.Memory.TryWrite(In, "hello"u8);
        bench.Driver.Send(1, new Buffer(In, 5), new Buffer(Out, 5, true));
        Assert.True(bench.Driver.Queues[1].TryTakeUsed(out _, out var written));
        Assert.Equal(5u, written);
        Assert.True(bench.Transport.TakeInterrupt(1));
        Assert.False(bench.Transport.TakeInterrupt(1));
        Assert.Equal(0, bench.Device.Mistakes);
    }

    [Theory]
    [MemberData(nameof(Transports))]
    public void Config_ChangedByTheHost_IsToldAndRead(VirtioTransportKind kind)
    {
        var device = new EchoDevice();
        using var bench = Bench(kind, device);
        bench.Driver.Start(2, 16);
        Assert.Equal(0x55667788u, bench.Transport.ReadConfig(0, 4));
        device.ChangeConfig(0x0102);
        Assert.True(bench.Transport.TakeInterrupt(null));
        Assert.Equal(0x0102u, bench.Transport.ReadConfig(0, 2));
        Assert.Equal(1u, bench.Transport.ReadConfig(1, 1));
        Assert.Equal(0, device.Mistakes);
    }

    [Theory]
    [MemberData(nameof(Transports))]
    public void Config_OutOfRange_ReadsZeroAndCounts(VirtioTransportKind kind)
    {
        using var bench = Bench(kind);
        bench.Driver.Start(2, 16);
        Assert.Equal(0x1122u, bench.Transport.ReadConfig(6, 4));
        Assert.Equal(0u, bench.Transport.ReadConfig(8, 4));
        Assert.Equal(0u, bench.Transport.ReadConfig(1020, 4));
        bench.Transport.WriteConfig(0, 4, 7);
        bench.Transport.WriteConfig(8, 4, 7);
        Assert.Equal(5, bench.Device.Mistakes);
        Assert.False(bench.IsBroken);
    }

    [Theory]
    [MemberData(nameof(Transports))]
    public void Features_NotOffered_AreRefused(VirtioTransportKind kind)
    {
        using var bench = Bench(kind);
        foreach (var features in (ulong[])[VirtioFeatures.Version1 | 2, 1, 0, ulong.MaxValue])
        {
            bench.Transport.Status = VirtioStatus.None;
            bench.Transport.Status = VirtioStatus.Acknowledge | VirtioStatus.Driver;
            bench.Transport.WriteFeatures(0, (uint)features);
            bench.Transport.WriteFeatures(1, (uint)(features >> 32));
            bench.Transport.Status |= VirtioStatus.FeaturesOk;
            Assert.Equal(VirtioStatus.Acknowledge | VirtioStatus.Driver, bench.Transport.Status);
            bench.Transport.Status |= VirtioStatus.DriverOk;
            Assert.Equal(VirtioStatus.Acknowledge | VirtioStatus.Driver, bench.Transport.Status);
        }
    }

    [Theory]
    [MemberData(nameof(Transports))]
    public void Features_WrittenAfterTheyAreAgreed_AreIgnored(VirtioTransportKind kind)
    {
        using var bench = Bench(kind);
        bench.Driver.Start(2, 16);
        var agreed = bench.Device.NegotiatedFeatures;
        bench.Transport.WriteFeatures(0, 0);
        bench.Transport.WriteFeatures(1, 0);
        Assert.Equal(agreed, bench.Device.NegotiatedFeatures);
        Assert.Equal(0u, bench.Transport.ReadFeatures(2));
    }

    [Theory]
    [MemberData(nameof(Transports))]
    public void Status_InEveryOrder_NeverSkipsAStep(VirtioTransportKind kind)
    {
        using var bench = Bench(kind);
        for (var value = 0; value < 256; value++)
        {
            foreach (var second in (int[])[0x04, 0x08, 0x0C, 0x0F, 0x40, 0x80, 0xFF, 0x01])
            {
                bench.Transport.Status = VirtioStatus.None;
                bench.Transport.WriteFeatures(1, 1);
                bench.Transport.Status = (VirtioStatus)value;
                bench.Transport.Status = (VirtioStatus)second;
                var status = bench.Transport.Status;
                if ((status & VirtioStatus.DriverOk) != 0) Assert.True((status & VirtioStatus.FeaturesOk) != 0);
                if ((status & VirtioStatus.FeaturesOk) != 0) Assert.True((status & VirtioStatus.Driver) != 0 || (value & 2) != 0 || (second & 2) != 0);
                Assert.Equal(VirtioStatus.None, status & VirtioStatus.NeedsReset);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Transports))]
    public void Queue_ChangedWhileInUse_StaysAsItWas(VirtioTransportKind kind)
    {
        using var bench = Bench(kind);
        bench.Driver.Start(2, 16);
        bench.Transport.SelectQueue(0);
        foreach (var size in (uint[])[0, 3, 256, 0xFFFF]) bench.Transport.SetQueueSize(size);
        bench.Transport.SetQueueAreas(ulong.MaxValue - 7, 1, VirtioBench.Hole);
        bench.Transport.EnableQueue();
        Assert.True(bench.Device.Mistakes >= 11);
        bench.Driver.Send(0, new Buffer(In, 5), new Buffer(Out, 5, true));
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
        Assert.False(bench.IsBroken);
    }

    [Theory]
    [MemberData(nameof(Transports))]
    public void Reset_WithChainsOut_PciTellsUntilTheyAreBack(VirtioTransportKind kind)
    {
        var device = new EchoDevice(holds: true);
        using var bench = Bench(kind, device);
        bench.Driver.Start(2, 16);
        bench.Driver.Send(0, new Buffer(In, 5), new Buffer(Out, 5, true));
        bench.Transport.Status = VirtioStatus.None;
        Assert.Equal(kind == VirtioTransportKind.Pci, bench.Transport.Status != VirtioStatus.None);
        device.Release();
        Assert.Equal(VirtioStatus.None, bench.Transport.Status);
        Assert.False(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
    }

    [Theory]
    [MemberData(nameof(Transports))]
    public void State_OfATransport_RoundTrips(VirtioTransportKind kind)
    {
        using var bench = Bench(kind);
        bench.Driver.Start(2, 16);
        bench.Driver.Send(0, new Buffer(In, 5), new Buffer(Out, 5, true));
        var saved = StateWriter.Save(bench.State);
        using var twin = Bench(kind);
        twin.Memory.TryWrite(0, bench.Read(0, (int)VirtioBench.RamLength));
        StateReader.Load("echo", saved, twin.State);
        Assert.Equal(saved, StateWriter.Save(twin.State));
        Assert.Equal(bench.Transport.Status, twin.Transport.Status);
        Assert.False(twin.IsBroken);
    }

    [Fact]
    public void Doorbells_OnMmio_MeanTheirQueue()
    {
        using var bench = Bench(VirtioTransportKind.Mmio);
        bench.Driver.Start(2, 16);
        Assert.Equal(2, bench.Bus.Doorbells.Length);
        bench.Driver.Queues[1].Add(new Buffer(In, 5), new Buffer(Out, 5, true));
        bench.Bus.Doorbells.Single(d => d.Matches(bench.Bus.Mmio, VirtioBench.Window + 0x50, 4, 1)).Ring();
        Assert.True(bench.Driver.Queues[1].TryTakeUsed(out _, out _));
    }

    [Fact]
    public void Doorbells_OnPci_FollowTheBar()
    {
        using var bench = Bench(VirtioTransportKind.Pci);
        bench.Driver.Start(2, 16);
        var pci = (PciDriverTransport)bench.Transport;
        Assert.Equal([pci.BarAt(0) + 0x3000, pci.BarAt(0) + 0x3004], bench.Bus.Doorbells.Select(d => d.Address));
        bench.Driver.Queues[1].Add(new Buffer(In, 5), new Buffer(Out, 5, true));
        bench.Bus.Doorbells[1].Ring();
        Assert.True(bench.Driver.Queues[1].TryTakeUsed(out _, out _));
        pci.WritePci(0x10, 4, pci.BarAt(0) + 0x8000);
        Assert.Equal(pci.BarAt(0) + 0x3000, bench.Bus.Doorbells[0].Address);
        pci.WritePci(4, 2, 0);
        Assert.Empty(bench.Bus.Doorbells);
    }

    [Fact]
    public void PciAccess_ByConfigurationSpace_ReachesTheRegisters()
    {
        using var bench = Bench(VirtioTransportKind.Pci);
        var pci = (PciDriverTransport)bench.Transport;
        Access(0, 0x14, 1);
        pci.WritePci(pci.PciAccess + 16, 1, 3);
        Assert.Equal(VirtioStatus.Acknowledge | VirtioStatus.Driver, bench.Transport.Status);
        Access(0, 0x12, 2);
        Assert.Equal(2u, pci.ReadPci(pci.PciAccess + 16, 2));
        foreach (var (bar, offset, length) in ((uint, uint, uint)[])[(1, 0, 4), (6, 0, 4), (255, 0, 4), (0, 0x4000, 4), (0, uint.MaxValue, 4), (0, 0xFFFFFFFC, 4), (0, 1, 4), (0, 0, 3), (0, 0, 8), (0, 0, uint.MaxValue)])
        {
            Access(bar, offset, length);
            pci.WritePci(pci.PciAccess + 16, 4, uint.MaxValue);
            pci.ReadPci(pci.PciAccess + 16, 4);
        }

        Assert.Equal(VirtioStatus.Acknowledge | VirtioStatus.Driver, bench.Transport.Status);

        void Access(uint bar, uint offset, uint length)
        {
            pci.WritePci(pci.PciAccess + 4, 1, bar);
            pci.WritePci(pci.PciAccess + 8, 4, offset);
            pci.WritePci(pci.PciAccess + 12, 4, length);
        }
    }

    [Fact]
    public void Vectors_ThatDoNotExist_AreNone()
    {
        using var bench = Bench(VirtioTransportKind.Pci);
        bench.Driver.Start(2, 16);
        var pci = (PciDriverTransport)bench.Transport;
        foreach (var vector in (uint[])[3, 4, 0x7FFF, 0xFFFE])
        {
            pci.SelectQueue(0);
            bench.Bus.Mmio.Write(pci.Common + 0x1A, 2, vector);
            Assert.Equal(0xFFFFu, bench.Bus.Mmio.Read(pci.Common + 0x1A, 2));
            bench.Bus.Mmio.Write(pci.Common + 0x10, 2, vector);
            Assert.Equal(0xFFFFu, bench.Bus.Mmio.Read(pci.Common + 0x10, 2));
        }

        bench.Driver.Send(0, new Buffer(In, 5), new Buffer(Out, 5, true));
        Assert.Empty(bench.Messages);
    }

    [Fact]
    public void Pin_WithoutMessages_IsRaisedAndReadingTheIsrTakesItBack()
    {
        using var bench = Bench(VirtioTransportKind.Pci);
        var pci = (PciDriverTransport)bench.Transport;
        pci.WritePci(pci.MessageCapability + 2, 2, 0);
        bench.Driver.Start(2, 16);
        bench.Driver.Send(0, new Buffer(In, 5), new Buffer(Out, 5, true));
        Assert.Equal(1, bench.Interrupts);
        Assert.Equal(1u, bench.Bus.Mmio.Read(pci.Isr, 1));
        Assert.Equal(0u, bench.Bus.Mmio.Read(pci.Isr, 1));
        bench.Driver.Queues[0].TryTakeUsed(out _, out _);
        bench.Driver.Queues[0].SetInterrupts(true);
        bench.Driver.Send(0, new Buffer(In, 5), new Buffer(Out, 5, true));
        Assert.Equal(2, bench.Interrupts);
    }

    [Fact]
    public void Memory_WithoutBusMaster_IsNotTouched()
    {
        using var bench = Bench(VirtioTransportKind.Pci);
        bench.Driver.Start(2, 16);
        ((PciDriverTransport)bench.Transport).WritePci(4, 2, 2);
        bench.Driver.Send(0, new Buffer(In, 5), new Buffer(Out, 5, true));
        Assert.False(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
        Assert.False(bench.IsBroken);
    }

    private static VirtioBench Bench(VirtioTransportKind kind, EchoDevice? device = null) => new(device ?? new EchoDevice(), new VirtioOptions { Transport = kind });
}
