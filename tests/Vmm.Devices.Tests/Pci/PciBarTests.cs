using Vmm.TestSupport.Pci;

namespace Vmm.Devices.Tests.Pci;

public class PciBarTests
{
    private const uint Address = 0xD000_0000;

    [Fact]
    public void MemoryBar_PlacedAndEnabled_IsServed()
    {
        using var machine = new PciMachine();
        machine.SetConfig(1, 0x10, 4, Address);
        Assert.Equal(0xFFFF_FFFFu, machine.Mmio.Read(Address, 4));
        machine.SetConfig(1, 4, 2, 2);
        Assert.Equal(ScratchFunction.Id, machine.Mmio.Read(Address, 4));
        Assert.Equal(0u, machine.Mmio.Read(Address + 0x100, 4)); // inside the range, nothing there
        machine.SetConfig(1, 4, 2, 0);
        Assert.Equal(0xFFFF_FFFFu, machine.Mmio.Read(Address, 4));
    }

    [Fact]
    public void MemoryBar_Moved_IsServedAtItsNewPlaceOnly()
    {
        using var machine = new PciMachine();
        machine.Place(1, 0, Address);
        machine.Mmio.Write(Address + 4, 4, 0x1234);
        machine.SetConfig(1, 0x10, 4, Address + 0x10_0000);
        Assert.Equal(0xFFFF_FFFFu, machine.Mmio.Read(Address + 4, 4));
        Assert.Equal(0x1234u, machine.Mmio.Read(Address + 0x10_0004, 4));
    }

    [Fact]
    public void IoBar_PlacedAndEnabled_IsServed()
    {
        using var machine = new PciMachine();
        machine.Place(1, 1, 0xC001);
        Assert.Equal(ScratchFunction.Id, machine.Ports.Read(0xC000, 4));
        machine.SetConfig(1, 4, 2, 6);
        Assert.Equal(0xFFFF_FFFFu, machine.Ports.Read(0xC000, 4));
    }

    [Fact]
    public void WideBar_PlacedAbove4GiB_IsServedInEverySizeAndAlignment()
    {
        using var machine = new PciMachine();
        machine.SetConfig(1, 0x18, 8, PciMachine.High + 0x20000);
        machine.SetConfig(1, 4, 2, 2);
        var at = PciMachine.High + 0x20000;
        machine.Mmio.Write(at + 3, 8, 0x8877_6655_4433_2211);
        Assert.Equal(0x8877_6655_4433_2211, machine.Mmio.Read(at + 3, 8));
        Assert.Equal(0x5544_3322u, machine.Mmio.Read(at + 4, 4));
        Assert.Equal(0x66_55u, machine.Mmio.Read(at + 7, 2));
        machine.Mmio.Write(at + 0xFFFE, 8, ulong.MaxValue); // over the end
        Assert.Equal(0xFFFFu, machine.Mmio.Read(at + 0xFFFE, 2));
    }

    [Fact]
    public void TwoBars_AtOnePlace_FirstIsServedAndTheOtherFollowsWhenItGoes()
    {
        using var machine = new PciMachine(functions: 2);
        machine.Place(1, 0, Address);
        machine.Mmio.Write(Address + 4, 4, 0x1111);
        machine.Place(2, 0, Address);
        Assert.Equal(0x1111u, machine.Mmio.Read(Address + 4, 4));
        Assert.Null(machine.Functions[1].Bars[0]!.Address);
        machine.SetConfig(1, 4, 2, 0);
        Assert.Equal(0u, machine.Mmio.Read(Address + 4, 4));
        Assert.Equal(Address, machine.Functions[1].Bars[0]!.Address);
    }

    [Fact]
    public void SavedState_LoadedIntoAFreshMachine_IsDecodedAgain()
    {
        using var machine = new PciMachine();
        machine.Place(1, 0, Address);
        machine.Mmio.Write(Address + 4, 4, 0x1234);
        var saved = Vmm.Core.State.StateWriter.Save(machine.Functions[0]);
        using var twin = new PciMachine();
        Vmm.Core.State.StateReader.Load("scratch0", saved, twin.Functions[0]);
        Assert.Equal(0x1234u, twin.Mmio.Read(Address + 4, 4));
        Assert.Equal(saved, Vmm.Core.State.StateWriter.Save(twin.Functions[0]));
    }

    [Fact]
    public void SavedState_OfAnotherSlot_IsRefused()
    {
        using var machine = new PciMachine(functions: 2);
        var saved = Vmm.Core.State.StateWriter.Save(machine.Functions[0]);
        Assert.Contains("plug it where it was", Assert.ThrowsAny<Exception>(() => Vmm.Core.State.StateReader.Load("scratch1", saved, machine.Functions[1])).Message, StringComparison.Ordinal);
    }
}
