using Vmm.Core;
using Vmm.Core.Backends;
using Vmm.Core.Boot;
using Vmm.Core.Errors;
using Vmm.Devices.Serial;

namespace Vmm.Tests;

public class VmmHostTests
{
    // mov dx, 0x3F8; mov al, '!'; out dx, al; mov dx, 0x604; mov ax, 0x3400; out dx, ax; hlt
    private static readonly byte[] SpeaksAndPowersOff = [0x66, 0xBA, 0xF8, 0x03, 0xB0, (byte)'!', 0xEE, 0x66, 0xBA, 0x04, 0x06, 0x66, 0xB8, 0x00, 0x34, 0x66, 0xEF, 0xF4];

    [Fact]
    public void SelectBackend_Auto_RunsWholeSystems() => Assert.True(VmmHost.SelectBackend().Probe() is { IsUsable: true } p && p.Capabilities.HasFlag(HypervisorCapabilities.FullSystem));

    [Fact]
    public void SelectBackend_ByName_IsThatOne() => Assert.Equal("software", VmmHost.SelectBackend("software").Name);

    [Fact]
    public void SelectBackend_Unknown_NamesTheOnesThereAre()
    {
        var error = Assert.Throws<VmmConfigurationException>(() => VmmHost.SelectBackend("xen"));
        Assert.Contains("'xen'", error.Message);
        Assert.All(VmmHost.Backends, b => Assert.Contains(b.Name, error.Message));
    }

    [Fact]
    public void Probe_TellsOfEachBackendInOrder() => Assert.Equal(VmmHost.Backends.Select(b => b.Name), VmmHost.Probe().Select(p => p.Backend));

    [Fact]
    public async Task CreateBuilder_WithConsole_HasCom1OnIt()
    {
        var console = new ConsolePipe();
        await using var vm = VmmHost.CreateBuilder(console).WithProgram(SpeaksAndPowersOff).Build();
        await vm.StartAsync(TestContext.Current.CancellationToken);
        Assert.Equal("!", await console.WaitForAsync("!", TestContext.Current.CancellationToken));
        Assert.Equal(MachineExitKind.PoweredOff, (await vm.Completion).Kind);
    }

    [Fact]
    public async Task CreateBuilder_WithoutConsole_BuildsAsManyAsWanted()
    {
        var builder = VmmHost.CreateBuilder().WithProgram(SpeaksAndPowersOff);
        for (var i = 0; i < 3; i++)
        {
            await using var vm = builder.Build();
            await vm.StartAsync(TestContext.Current.CancellationToken);
            Assert.Equal(MachineExitKind.PoweredOff, (await vm.Completion).Kind);
        }
    }
}
