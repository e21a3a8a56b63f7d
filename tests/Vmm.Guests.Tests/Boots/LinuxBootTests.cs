using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Vmm.Backends.Software;
using Vmm.Core;

namespace Vmm.Guests.Tests.Boots;

[Collection("boots")]
public sealed class InterpretedLinuxBootTests() : LinuxBootTests(CpuEngine.Interpret);

[Collection("boots")]
public sealed class TranslatedLinuxBootTests() : LinuxBootTests(CpuEngine.Translate);

/// <summary>Real boots of the Debian cloud kernel on the software CPU.</summary>
public abstract class LinuxBootTests(CpuEngine engine)
{
    // What a kernel says when time, interrupts or tables are wrong.
    private static readonly Regex Complaint = new(
        @"soft lockup|hard LOCKUP|rcu.*stall|TSC.*unstable|Marking clocksource|clocksource.*(unstable|wrong)|timer doesn't work|calibration failed|ACPI (Error|Warning|BIOS)|APIC error|spurious|BUG:|WARNING:|Call Trace|Oops|nobody cared|unchecked MSR",
        RegexOptions.IgnoreCase);

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(2, true)]
    public async Task Shell_AnswersCommandsAndPowersOff(int vcpus, bool pc)
    {
        await using var linux = await BootedLinux.StartAsync(engine: engine, configure: b => b.WithVcpus(vcpus), pc: pc);
        await linux.ReadyAsync();

        Assert.Contains("Linux vmm 6.", await linux.RunAsync("uname -a"), StringComparison.Ordinal);
        Assert.Matches($@"\n{vcpus}\r?\n", await linux.RunAsync("nproc"));
        var complaints = Complaint.Matches(await linux.RunAsync("dmesg")).Select(m => m.Value).Distinct();
        Assert.Empty(complaints);

        await linux.Console.WriteLineAsync("exit", linux.Token);
        Assert.Equal(MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);
    }

    // VMM_BOOTS=50 for the full run. Every other boot competes with a busy loop on each host core.
    [Fact]
    public async Task BootsInARow_AllReachTheShellWithoutComplaint()
    {
        var count = int.Parse(Environment.GetEnvironmentVariable("VMM_BOOTS") ?? "2", CultureInfo.InvariantCulture);
        for (var i = 0; i < count; i++)
        {
            using var busy = new BusyHost(i % 2 == 1 ? Environment.ProcessorCount : 0);
            await using var linux = await BootedLinux.StartAsync(engine: engine, configure: b => b.WithVcpus(1 + i % 4 / 2), command: "dmesg > /dev/console");
            Assert.Equal(MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);
            Assert.True(!Complaint.IsMatch(linux.Console.Text), $"boot {i} of {count}: {string.Join(", ", Complaint.Matches(linux.Console.Text).Select(m => m.Value).Distinct())}\n{linux.Console.Text}");
        }
    }

    [Theory]
    [InlineData(KernelForm.Elf)]
    [InlineData(KernelForm.Pvh)]
    public async Task UncompressedKernel_RunsACommandAndPowersOff(KernelForm form)
    {
        await using var linux = await BootedLinux.StartAsync(engine: engine, form: form, command: "uname -r");

        Assert.Equal(MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);
        Assert.Contains(LinuxShell.CommandExitMarker + "0", linux.Console.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task GuestTime_KeepsUpWithTheHost()
    {
        await using var linux = await BootedLinux.StartAsync(engine: engine);
        await linux.ReadyAsync();

        // The guest's interval lies inside one of the host's and encloses another, so load on the host widens neither bound.
        var outerStart = Stopwatch.GetTimestamp();
        var guestStart = await UptimeAsync(linux);
        var innerStart = Stopwatch.GetTimestamp();
        await linux.RunAsync("sleep 3");
        var inner = Stopwatch.GetElapsedTime(innerStart).TotalSeconds;
        var guest = await UptimeAsync(linux) - guestStart;
        var outer = Stopwatch.GetElapsedTime(outerStart).TotalSeconds;

        // /proc/uptime counts in hundredths of a second.
        Assert.InRange(guest, inner - 0.02, outer + 0.02);
        TestContext.Current.SendDiagnosticMessage($"guest {guest:F2} s; host between {inner:F2} s and {outer:F2} s");
    }

    [Fact]
    public async Task PauseAndResume_GuestGoesOnAndItsClockStoodStill()
    {
        await using var linux = await BootedLinux.StartAsync(engine: engine);
        await linux.ReadyAsync();
        await linux.Machine.PauseAsync();
        var paused = linux.Machine.Clock.Now;
        var retired = linux.Machine.Partition.Vcpus[0].InstructionsRetired;
        await Task.Yield();

        Assert.Equal(paused, linux.Machine.Clock.Now);
        Assert.Equal(retired, linux.Machine.Partition.Vcpus[0].InstructionsRetired);

        await linux.Machine.ResumeAsync();
        Assert.Contains("still here", await linux.RunAsync("echo still here"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Stop_PressesThePowerButtonAndThenKills()
    {
        await using var linux = await BootedLinux.StartAsync(engine: engine);
        await linux.ReadyAsync();

        // Nothing in this initramfs listens to the button, so the time-out decides.
        await linux.Machine.StopAsync(TimeSpan.FromMilliseconds(50));

        Assert.Equal(MachineExitKind.Killed, (await linux.EndAsync()).Kind);
    }

    [Fact]
    public async Task CountedTime_TwoBootsAreIdentical()
    {
        var runs = new List<(ulong Instructions, long Clock, string Console)>();
        for (var i = 0; i < 2; i++)
        {
            await using var linux = await BootedLinux.StartAsync(engine: engine, configure: b => b.WithCountedTime(2).WithTimeProvider(new FixedTime()), command: "cat /proc/uptime /proc/interrupts");
            Assert.Equal(MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);
            var (instructions, clock) = (linux.Machine.Partition.Vcpus[0].InstructionsRetired, linux.Machine.Clock.Now);
            await linux.Machine.DisposeAsync();
            runs.Add((instructions, clock, await linux.Console.ReadToEndAsync(linux.Token)));
        }

        Assert.Equal(runs[0].Console, runs[1].Console);
        Assert.Equal(runs[0].Instructions, runs[1].Instructions);
        Assert.Equal(runs[0].Clock, runs[1].Clock);
    }

    private static async Task<double> UptimeAsync(BootedLinux linux)
    {
        var output = await linux.RunAsync("cat /proc/uptime");
        return double.Parse(Regex.Matches(output, @"(\d+\.\d+) \d+\.\d+").Last().Groups[1].Value, CultureInfo.InvariantCulture);
    }

    private sealed class FixedTime : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);
    }
}
