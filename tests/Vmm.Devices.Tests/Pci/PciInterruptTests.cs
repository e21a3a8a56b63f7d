using Vmm.Core.Buses;
using Vmm.TestSupport.Pci;

namespace Vmm.Devices.Tests.Pci;

public class PciInterruptTests
{
    private const uint Registers = 0xD000_0000, Table = 0xD010_0000, Pending = Table + 0x2000;
    private const ulong Apic = 0xFEE0_0000;

    [Fact]
    public void MsiXVector_Unmasked_IsSentAndAPendingOneWaitsForItsMask()
    {
        using var machine = WithMsiX();
        Entry(machine, 3, Apic, 0x43, masked: true);
        machine.Mmio.Write(Registers + 8, 4, 3);
        Assert.Empty(machine.Messages);
        Assert.Equal(8u, machine.Mmio.Read(Pending, 8));
        machine.Mmio.Write(Table + 3 * 16 + 12, 4, 0);
        Assert.Equal([new MsiMessage(Apic, 0x43)], machine.Messages);
        Assert.Equal(0u, machine.Mmio.Read(Pending, 8));
        machine.Mmio.Write(Registers + 8, 4, 3);
        Assert.Equal(2, machine.Messages.Count);
    }

    [Fact]
    public void MsiX_MaskedAsAWhole_WaitsForThatMaskToo()
    {
        using var machine = WithMsiX();
        Entry(machine, 69, Apic, 0x50, masked: false);
        var control = machine.Functions[0].MsiXControl();
        machine.SetConfig(1, control, 2, 0xC000);
        machine.Mmio.Write(Registers + 8, 4, 69);
        Assert.Empty(machine.Messages);
        Assert.Equal(1u << 5, machine.Mmio.Read(Pending + 8, 4));
        machine.SetConfig(1, control, 2, 0x8000);
        Assert.Single(machine.Messages);
    }

    [Fact]
    public void Message_WithoutBusMastering_DoesNotLeave()
    {
        using var machine = WithMsiX();
        Entry(machine, 0, Apic, 0x50, masked: false);
        machine.SetConfig(1, 4, 2, 2);
        machine.Mmio.Write(Registers + 8, 4, 0);
        Assert.Empty(machine.Messages);
    }

    [Fact]
    public void Msi_WithGrantedVectors_PutsTheirNumbersIntoTheData()
    {
        using var machine = new PciMachine();
        machine.Place(1, 0, Registers);
        var at = machine.Functions[0].MsiControl() - 2;
        machine.SetConfig(1, at + 4, 8, Apic | 0x4000);
        machine.SetConfig(1, at + 12, 2, 0x40);
        machine.SetConfig(1, at + 2, 2, 1 | 2 << 4);
        machine.SetConfig(1, at + 16, 4, 1 << 2);
        machine.Mmio.Write(Registers + 8, 4, 3);
        machine.Mmio.Write(Registers + 8, 4, 2);
        Assert.Equal([new MsiMessage(Apic | 0x4000, 0x43)], machine.Messages);
        Assert.Equal(1u << 2, machine.Config(1, at + 20, 4));
        machine.SetConfig(1, at + 16, 4, 0);
        Assert.Equal(new MsiMessage(Apic | 0x4000, 0x42), machine.Messages.Last());
    }

    [Fact]
    public void Pins_OfSeveralDevices_AreTurnedAndShared()
    {
        using var machine = new PciMachine(functions: 5);
        Assert.Equal([21ul, 22ul, 23ul, 20ul, 21ul], Enumerable.Range(1, 5).Select(d => machine.Config(d, 0x3C, 1)));
        Assert.All(Enumerable.Range(1, 5), d => Assert.Equal(1u, machine.Config(d, 0x3D, 1)));
        Redirect(machine, 21, 0x8041);
        machine.Functions[0].Interrupt(0);
        machine.Functions[4].Interrupt(0);
        Assert.Equal([new MsiMessage(Apic, 0xC041)], machine.Messages);
        Assert.Equal(8u, machine.Config(1, 6, 2) & 8);
        machine.SetConfig(1, 4, 2, 1 << 10);
        machine.Machine.Bus.EndOfInterrupt(0x41);
        Assert.Equal(2, machine.Messages.Count); // device 5 still asserts
        machine.SetConfig(5, 4, 2, 1 << 10);
        machine.Machine.Bus.EndOfInterrupt(0x41);
        Assert.Equal(2, machine.Messages.Count);
        Assert.Equal(8u, machine.Config(1, 6, 2) & 8); // the state shows through the mask
    }

    [Fact]
    public void Pin_WhenMessagesAreEnabled_IsSilent()
    {
        using var machine = new PciMachine();
        Redirect(machine, 21, 0x8041);
        machine.Functions[0].Interrupt(0);
        Assert.Single(machine.Messages);
        machine.SetConfig(1, machine.Functions[0].MsiXControl(), 2, 0x8000);
        machine.Machine.Bus.EndOfInterrupt(0x41);
        Assert.Single(machine.Messages);
    }

    private static PciMachine WithMsiX()
    {
        var machine = new PciMachine();
        machine.SetConfig(1, 0x20, 4, Table);
        machine.Place(1, 0, Registers);
        machine.SetConfig(1, machine.Functions[0].MsiXControl(), 2, 0x8000);
        return machine;
    }

    private static void Entry(PciMachine machine, int vector, ulong address, uint data, bool masked)
    {
        var at = Table + (uint)vector * 16;
        machine.Mmio.Write(at, 8, address);
        machine.Mmio.Write(at + 8, 4, data);
        machine.Mmio.Write(at + 12, 4, masked ? 1u : 0);
    }

    private static void Redirect(PciMachine machine, int input, ulong entry)
    {
        machine.Mmio.Write(0xFEC0_0000, 4, (ulong)(0x10 + input * 2));
        machine.Mmio.Write(0xFEC0_0010, 4, (uint)entry);
    }
}
