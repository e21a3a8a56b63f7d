using Vmm.Devices.Tests.Support;
using Vmm.TestSupport.Pci;

namespace Vmm.Devices.Tests.Pci;

public class PciConfigTests
{
    [Theory]
    [InlineData(false, 0x00081B36u)]
    [InlineData(true, 0x12378086u)]
    public void HostBridge_OfEachBoard_IsThereByPortsAndByMemory(bool pc, uint id)
    {
        using var machine = new PciMachine(pc: pc);
        Assert.Equal(id, machine.Config(0, 0, 4));
        Assert.Equal(id, machine.PortConfig(0x8000_0000, 4));
        Assert.Equal(0x0600u, machine.PortConfig(0x8000_0008, 2, 2));
    }

    [Fact]
    public void Function_ReadInAnySize_SaysWhatItIs()
    {
        using var machine = new PciMachine();
        Assert.Equal(0x5C4A1234u, machine.Config(1, 0, 4));
        Assert.Equal(0x5C4Au, machine.Config(1, 2, 2));
        Assert.Equal(0x34u, machine.Config(1, 0, 1));
        Assert.Equal(0xFF000003u, machine.PortConfig(0x8000_0808, 4));
        Assert.Equal(0x11001AF4u, machine.Config(1, 0x2C, 4));
    }

    [Fact]
    public void Function_ThatIsNotThere_ReadsOnes()
    {
        using var machine = new PciMachine();
        Assert.Equal(0xFFFF_FFFFu, machine.Config(2, 0, 4));
        Assert.Equal(0xFFFF_FFFFu, machine.Config(1, 0, 4, function: 1));
        Assert.Equal(0xFFFF_FFFFu, machine.PortConfig(0x8001_0000, 4)); // bus 1
        Assert.Equal(0xFFFF_FFFFu, machine.PortConfig(0x0000_0800, 4)); // not enabled
        machine.SetConfig(2, 4, 4, 7);
    }

    [Fact]
    public void ReadOnlyBits_Written_StayAsTheyAre()
    {
        using var machine = new PciMachine();
        foreach (var register in (int[])[0x00, 0x08, 0x28, 0x2C, 0x30, 0x34, 0x38]) Check(register);
        machine.SetConfig(1, 4, 4, 0xFFFF_FFFF);
        Assert.Equal(0x0010_0547u, machine.Config(1, 4, 4));
        machine.SetConfig(1, 0x3C, 4, 0xFFFF_FFFF);
        Assert.Equal(0x0000_01FFu, machine.Config(1, 0x3C, 4));

        void Check(int register)
        {
            var before = machine.Config(1, register, 4);
            machine.SetConfig(1, register, 4, ~before);
            Assert.Equal(before, machine.Config(1, register, 4));
        }
    }

    [Fact]
    public void Capabilities_Walked_AreMsiXMsiAndVendor()
    {
        using var machine = new PciMachine();
        Assert.Equal(0x10u, machine.Config(1, 6, 2) & 0x10);
        List<ulong> ids = [];
        for (var at = machine.Config(1, 0x34, 1); at != 0 && ids.Count < 10; at = machine.Config(1, (int)at + 1, 1)) ids.Add(machine.Config(1, (int)at, 1));
        Assert.Equal([0x11ul, 0x05ul, 0x09ul], ids);
        var vendor = machine.Functions[0].VendorAt;
        machine.SetConfig(1, vendor, 8, ulong.MaxValue);
        Assert.Equal([0x09ul, 0x00ul, 0x08ul, 0x11ul, 0x2Ful, 0x33ul, 0xFFul, 0xFFul], Enumerable.Range(0, 8).Select(i => machine.Config(1, vendor + i, 1)));
    }

    [Fact]
    public void Bars_Sized_TellLengthAndKind()
    {
        using var machine = new PciMachine();
        ulong[] sizes = [.. Enumerable.Range(0, 6).Select(i =>
        {
            machine.SetConfig(1, 0x10 + 4 * i, 4, 0xFFFF_FFFF);
            return machine.Config(1, 0x10 + 4 * i, 4);
        })];
        Assert.Equal([0xFFFF_F000ul, 0xFFFF_FFE1ul, 0xFFFF_000Cul, 0xFFFF_FFFFul, 0xFFFF_C004ul, 0xFFFF_FFFFul], sizes);
    }

    [Fact]
    public void Function_BesideFunctionZero_MakesTheDeviceMultiFunction()
    {
        using var board = new BoardMachine(new Vmm.Devices.Boards.PcBoard(), b => Vmm.Devices.Pci.PciExtensions.AddPciFunction(Vmm.Devices.Pci.PciExtensions.AddPciFunction(b, "a", _ => new ScratchFunction(), 5), "b", _ => new ScratchFunction(), 5, 3));
        var mmio = board.Machine.Bus.Mmio;
        Assert.Equal(0x80ul, mmio.Read(PciMachine.ConfigAddress(5, 0x0E), 1));
        Assert.Equal(0x00ul, mmio.Read(PciMachine.ConfigAddress(5, 0x0E, 3), 1));
        Assert.Equal(4ul, mmio.Read(PciMachine.ConfigAddress(5, 0x3D, 3), 1)); // pin D
    }
}
