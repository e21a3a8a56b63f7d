using Vmm.Core.Boot;
using Vmm.Core.Errors;
using Vmm.Core.Memory;
using Vmm.Core.X86;
using Vmm.TestSupport.Machines;
using Xunit;

namespace Vmm.Core.Tests.Boot;

public sealed class FirmwareBootTests
{
    [Theory]
    [InlineData(64 << 10)]
    [InlineData(256 << 10)]
    [InlineData(16 << 20)]
    public void Rom_EndsAtFourGiBAndAtOneMiB(int size)
    {
        var image = Image(size);
        using var m = new BootMachine();
        m.Add(MemoryRegion.Allocate("firmware", (1UL << 32) - (uint)size, (uint)size, MemoryRegionKind.Rom));

        var s = m.Load(new FirmwareBoot(image));

        Assert.Equal(image, m.Bytes((1UL << 32) - (uint)size, size));
        var low = Math.Min(size, 128 << 10);
        Assert.Equal(image[^low..], m.Bytes((1u << 20) - (uint)low, low));
        Assert.Equal(image[^16], m.U8(s.Segments[1].Base + s.Rip));
        Assert.Equal((0xFFF0UL, 0xFFFF0000UL, 0xF000), (s.Rip, s.Segments[1].Base, s.Segments[1].Selector));
        Assert.Equal(0x60000010UL, s.Cr0);
    }

    [Theory]
    [InlineData(0, "empty")]
    [InlineData(65537, "pad the image at its front")]
    [InlineData(4096, "no multiple of 65536")]
    [InlineData((16 << 20) + 65536, "16777216")]
    public void Rom_OfAWrongSize_IsRefused(int size, string word)
    {
        using var m = new BootMachine();
        m.Refuses(new FirmwareBoot(new byte[size]) { Name = "bios.bin" }, "bios.bin: length", word);
    }

    [Fact]
    public void Rom_WithoutItsRegion_IsRefused()
    {
        using var m = new BootMachine();
        m.Refuses(new FirmwareBoot(Image(64 << 10)), "0xffff0000", "WithFirmware");
    }

    [Fact]
    public void WithFirmware_AddsARegionForEachMachine()
    {
        var builder = new VirtualMachineBuilder().WithFirmware(Image(128 << 10));

        using var a = Assert.Single(builder.Regions)();
        using var b = builder.Regions[0]();
        Assert.Equal((0xFFFE0000UL, 0x20000UL, MemoryRegionKind.Rom), (a.Start, a.Length, a.Kind));
        Assert.NotEqual(a.HostAddress, b.HostAddress);
        Assert.Single(builder.Parts);
        Assert.Empty(new VirtualMachineBuilder().WithFirmware(new byte[5]).Regions);
    }

    [Theory]
    [InlineData(64 << 10, MemoryRegionKind.Rom)]
    [InlineData(2 << 20, MemoryRegionKind.Ram)]
    public void Machine_WithFirmware_HasItAtBothPlacesWhateverItsRam(int ram, MemoryRegionKind low)
    {
        var image = Image(192 << 10);
        var builder = TestMachine.Builder(FakeHypervisor.Halted()).WithMemory((ulong)ram).WithFirmware(image);

        for (var i = 0; i < 2; i++)
        {
            using var vm = builder.Build();
            var state = new VcpuState();
            vm.Partition.Vcpus[0].GetState(state);
            var bytes = new byte[128 << 10];

            Assert.True(vm.Memory.TryRead(0xFFFFFFFF - (uint)bytes.Length + 1, bytes));
            Assert.Equal(image[^bytes.Length..], bytes);
            Assert.True(vm.Memory.TryRead(0xE0000, bytes));
            Assert.Equal(image[^bytes.Length..], bytes);
            Assert.Equal((low, MemoryRegionKind.Rom), (vm.Memory.Find(0xFFFFF)!.Kind, vm.Memory.Find(0xFFFFFFFF)!.Kind));
            Assert.Equal(0xFFFFFFF0UL, state.Segments[1].Base + state.Rip);
        }
    }

    [Fact]
    public void Machine_WithFirmwareOfAWrongSize_IsNotBuilt()
    {
        var e = Assert.Throws<VmmConfigurationException>(() => TestMachine.Builder(FakeHypervisor.Halted()).WithFirmware(new byte[70000]).Build());
        Assert.Contains("no multiple of 65536", Assert.Single(e.Problems), StringComparison.Ordinal);
    }

    private static byte[] Image(int size)
    {
        var image = new byte[size];
        new Random(size).NextBytes(image);
        return image;
    }
}
