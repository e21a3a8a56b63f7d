using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.Errors;
using Vmm.Core.Memory;
using Vmm.Core.State;
using Vmm.TestSupport.Machines;

namespace Vmm.Core.Tests;

public class VirtualMachineBuilderTests
{
    private static readonly VirtualMachineBuilder Good = TestMachine.Builder(FakeHypervisor.Busy());

    [Fact]
    public void Build_Empty_TellsEverythingThatIsMissing()
    {
        var e = Assert.Throws<VmmConfigurationException>(new VirtualMachineBuilder().Build);
        Assert.Equal(3, e.Problems.Length);
        Assert.Contains(e.Problems, p => p.Contains("WithBackend"));
        Assert.Contains(e.Problems, p => p.Contains("WithBoard"));
        Assert.Contains(e.Problems, p => p.Contains("WithBootLoader"));
        Assert.All(e.Problems, p => Assert.Contains(p, e.Message));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(256)]
    public void Build_VcpusOutOfRange_IsAProblem(int count) => Assert.Contains($"{count} vCPUs", OnlyProblem(Good.WithVcpus(count)));

    [Theory]
    [InlineData(0UL)]
    [InlineData(4096UL)]
    [InlineData((64UL << 10) + 1)]
    public void Build_MemoryOutOfRange_IsAProblem(ulong bytes) => Assert.Contains($"Memory of {bytes} bytes", OnlyProblem(Good.WithMemory(bytes)));

    [Fact]
    public void Build_CountedTime_NeedsOneVcpuAndABackendThatCan()
    {
        Assert.Contains("exactly one vCPU", OnlyProblem(Good.WithCountedTime().WithVcpus(2)));
        Assert.Contains("choose 1 or more", OnlyProblem(Good.WithCountedTime(-1)));
        var without = new FakeHypervisor(v => v.WaitForKick()) { Capabilities = HypervisorCapabilities.None };
        Assert.Contains("VirtualTime", OnlyProblem(Good.WithBackend(without).WithCountedTime()));
        Assert.True(without.Partitions[0].IsDisposed);
    }

    [Fact]
    public void Build_BackendMissing_SaysWhatMendsIt() =>
        Assert.Contains("no device. To mend it: nothing", OnlyProblem(Good.WithBackend(new FakeHypervisor(v => v.WaitForKick()) { Missing = "no device." })));

    [Fact]
    public void Build_ManyProblemsOfManyKinds_AreToldAtOnce()
    {
        var e = Assert.Throws<VmmConfigurationException>(Good
            .WithBootLoader(new FakeLoader("The kernel is too big.", "The command line is too long."))
            .WithCpuShare(new(Weight: 0))
            .AddRom("rom", 0x8000, new byte[4096])
            .AddRom("rom2", 0xFFFF_0001, new byte[4096])
            .AddRom("empty", 0x1000_0000, default)
            .AddMemoryRegion(() => MemoryRegion.Allocate("big", 0x1000_0000, 100))
            .AddDevice("led", _ => new Led(), mmio: 0xD000_0000)
            .AddDevice("led", _ => new Led(), mmio: 0xD000_1000)
            .AddDevice("led2", _ => new Led(), mmio: 0xD000_0800, length: 0x1000)
            .AddDevice("in-ram", _ => new Led(), mmio: 0x4000)
            .AddDevice("mute", _ => new Mute(), port: 0x80, count: 1)
            .AddDevice("none", _ => new Led(), port: 0x90, count: 0)
            .AddDevice("past", _ => new Led(), port: 0xFFFF, count: 2)
            .AddDevice("vcpu7", _ => new Led())
            .AddPart(m => m.Board.Line(1000))
            .AddPart(_ => throw new InvalidOperationException("No window is left."))
            .Build);
        Assert.Equal(16, e.Problems.Length);
        foreach (var text in new[]
        {
            "The kernel is too big.", "The command line is too long.", "CPU weight of 0", "overlaps region", "0xffff0001 is not a multiple", "ROM 'empty' is empty", "0x64 is not a positive multiple",
            "called 'led' already", "0xd0000800-0xd00017ff", "lies in memory region", "does not implement IIoHandler", "window of 0x0 at 0x90", "window of 0x2 at 0xffff", "'vcpu7' is the machine's own",
            "No window is left.",
        }) Assert.Single(e.Problems, p => p.Contains(text, StringComparison.Ordinal));
        Assert.DoesNotContain(e.Problems, p => p.Contains("(Parameter", StringComparison.Ordinal));
    }

    [Fact]
    public void Build_SameBuilderTwice_MakesTwoMachines()
    {
        var builder = Good.WithName("twin");
        using var a = builder.Build();
        using var b = builder.Build();
        Assert.NotSame(a.Memory, b.Memory);
        Assert.Equal("twin", b.Name);
    }

    [Fact]
    public void With_DoesNotChangeTheOriginal()
    {
        _ = Good.WithVcpus(0).WithName("other");
        using var vm = Good.Build();
        Assert.Equal("vm", vm.Name);
        Assert.Single(vm.Partition.Vcpus);
    }

    [Fact]
    public void AddDevice_Windows_ReachTheDeviceUnderItsLock()
    {
        Led led = new(), ports = new();
        using var vm = Good.AddDevice("led", _ => led, mmio: 0xD000_0000, length: 0x10).AddDevice("ports", _ => ports, port: 0x3F8, count: 8).Build();
        vm.Bus.Mmio.Write(0xD000_0004, 4, 0x1234);
        vm.Bus.Ports.Write(0x3FF, 1, 0xAB);
        Assert.Equal((4u, 4, 0x1234UL, true), led.Last);
        Assert.Equal((7u, 1, 0xABUL, true), ports.Last);
        Assert.Equal(0UL, vm.Bus.Mmio.Read(0xD000_000F, 1));
        Assert.Equal(0xFFUL, vm.Bus.Mmio.Read(0xD000_0010, 1));
        Assert.Equal(2, vm.Context.Devices.Count);
        Assert.Equal(1, led.Resets);
    }

    [Fact]
    public void AddRom_OddLength_IsFilledUpWithOnes()
    {
        using var vm = Good.AddRom("rom", 0xFFFF_0000, new byte[] { 1, 2, 3 }).Build();
        var bytes = new byte[5];
        Assert.True(vm.Memory.TryRead(0xFFFF_0000, bytes));
        Assert.Equal([1, 2, 3, 0xFF, 0xFF], bytes);
        Assert.False(vm.Memory.TryWrite(0xFFFF_0000, (byte)9));
        Assert.Equal(MemoryRegionKind.Rom, vm.Memory.Find(0xFFFF_0FFF)!.Kind);
    }

    private static string OnlyProblem(VirtualMachineBuilder builder) => Assert.Single(Assert.Throws<VmmConfigurationException>(builder.Build).Problems);

    private sealed class Led : IDevice, IIoHandler
    {
        public (uint Offset, int Size, ulong Value, bool Locked) Last { get; private set; }

        public int Resets { get; private set; }

        public void Reset() => Resets++;

        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value) => Last = (offset, size, value, Monitor.IsEntered(this));

        public void VisitState(StateVisitor visitor) { }
    }

    private sealed class Mute : IDevice
    {
        public void Reset() { }

        public void VisitState(StateVisitor visitor) { }
    }
}
