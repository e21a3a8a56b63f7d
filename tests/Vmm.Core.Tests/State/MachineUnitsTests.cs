using Vmm.Core.Devices;
using Vmm.Core.Errors;
using Vmm.Core.State;
using Vmm.Core.Time;
using Vmm.Core.X86;
using Vmm.TestSupport.Machines;

namespace Vmm.Core.Tests.State;

public class MachineUnitsTests
{
    private static VirtualMachine Build(out Ticker device, int vcpus = 2, string name = "ticker")
    {
        Ticker? made = null;
        var vm = TestMachine.Builder(FakeHypervisor.Busy()).WithVcpus(vcpus).AddPart(m => m.AddDevice(name, made = new Ticker(m.Clock))).Build();
        device = made!;
        return vm;
    }

    [Fact]
    public async Task RoundTrip_ClockDevicesAndVcpus_ComeBackInAnotherMachine()
    {
        await using var a = Build(out var deviceA);
        await using var b = Build(out var deviceB);
        a.Clock.SetTo(5_000);
        deviceA.Count = 42;
        deviceA.Timer.Arm(6_000);
        var state = new VcpuState { Rip = 0xABC };
        a.Partition.Vcpus[1].SetState(state);

        var saved = a.SaveUnits();
        b.LoadUnits(saved);

        Assert.Equal(["clock", "ticker", "vcpu0", "vcpu1"], saved.Select(u => u.Name));
        Assert.Equal(5_000, b.Clock.Now);
        Assert.Equal(42u, deviceB.Count);
        Assert.Equal(6_000, deviceB.Timer.Deadline);
        var loaded = new VcpuState();
        b.Partition.Vcpus[1].GetState(loaded);
        Assert.Empty(StateComparer.Compare(state, loaded));
        Assert.Equal(saved.Select(u => u.Body), b.SaveUnits().Select(u => u.Body));
    }

    [Fact]
    public async Task Save_Running_Throws()
    {
        await using var vm = Build(out _);
        await vm.StartAsync();
        Assert.Contains("Pause it first", Assert.Throws<InvalidOperationException>(() => vm.SaveUnits()).Message);
        await vm.PauseAsync();
        vm.LoadUnits(vm.SaveUnits());
        await vm.KillAsync();
        vm.SaveUnits();
        vm.Dispose();
        Assert.Throws<ObjectDisposedException>(() => vm.SaveUnits());
    }

    [Fact]
    public void Load_OtherMachine_NamesWhatIsMissing()
    {
        using var one = Build(out _, vcpus: 1);
        using var two = Build(out _, vcpus: 2);
        using var other = Build(out _, vcpus: 1, name: "tocker");
        Assert.Contains("vcpu1", Assert.Throws<SnapshotException>(() => two.LoadUnits(one.SaveUnits())).Place);
        Assert.Contains("vcpu1", Assert.Throws<SnapshotException>(() => one.LoadUnits(two.SaveUnits())).Place);
        Assert.Contains("tocker", Assert.Throws<SnapshotException>(() => other.LoadUnits(one.SaveUnits())).Place);
        Assert.Contains("twice", Assert.Throws<SnapshotException>(() => one.LoadUnits([.. one.SaveUnits(), .. one.SaveUnits()])).Message);
    }

    [Fact]
    public void Load_NegativeClock_IsRefused()
    {
        using var vm = Build(out _);
        var saved = vm.SaveUnits();
        saved[0] = ("clock", [1, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]);
        Assert.Contains("clock", Assert.Throws<SnapshotException>(() => vm.LoadUnits(saved)).Place);
    }

    [Theory]
    [InlineData("clock", true)]
    [InlineData("memory", true)]
    [InlineData("vcpu0", true)]
    [InlineData("vcpu123", true)]
    [InlineData("vcpu", false)]
    [InlineData("vcpux", false)]
    [InlineData("com1", false)]
    public void Names_OfTheMachinesOwnUnits_AreReserved(string name, bool reserved)
    {
        Assert.Equal(reserved, MachineUnits.IsReserved(name));
        if (!reserved) return;
        var problem = Assert.Throws<VmmConfigurationException>(() => Build(out _, name: name).Dispose());
        Assert.Contains(name, problem.Message);
    }

    private sealed class Ticker : IDevice
    {
        private long _deadline;
        public uint Count;

        public Ticker(VmClock clock) => Timer = clock.CreateTimer(this, () => { });

        public VmTimer Timer { get; }

        public void Reset() => (Count, _) = (0, _deadline = 0);

        public void VisitState(StateVisitor visitor)
        {
            if (!visitor.IsLoading) _deadline = Timer.Deadline;
            visitor.Field(1, ref Count);
            visitor.Field(2, ref _deadline);
        }

        public void OnStateLoaded() => Timer.Arm(_deadline);
    }
}
