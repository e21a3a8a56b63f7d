using Vmm.Backends.Whp.Simulation;
using Vmm.Core;

namespace Vmm.Guests.Tests.Boots;

/// <summary>The Debian kernel on the backend for the Windows Hypervisor Platform, over its simulated platform.</summary>
[Collection("boots")]
public class WhpBootTests
{
    [Theory]
    [InlineData(1, false)]
    [InlineData(2, true)]
    public async Task Shell_AnswersAndPowersOff(int vcpus, bool pc)
    {
        await using var linux = await BootedLinux.StartAsync(b => b.WithBackend(new SimulatedHypervisor()).WithVcpus(vcpus), pc: pc);
        await linux.ReadyAsync();

        Assert.Contains("Linux vmm 6.", await linux.RunAsync("uname -a"), StringComparison.Ordinal);
        Assert.Matches($@"\n{vcpus}\r?\n", await linux.RunAsync("nproc"));

        await linux.Console.WriteLineAsync("exit", linux.Token);
        Assert.Equal(MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);
    }
}
