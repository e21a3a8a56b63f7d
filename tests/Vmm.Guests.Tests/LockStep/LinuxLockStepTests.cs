using System.Globalization;
using Vmm.Core;
using Vmm.Core.Boot;
using Vmm.Devices.Boards;
using Vmm.Devices.Serial;
using Vmm.Guests.Tests.Jit;

namespace Vmm.Guests.Tests.LockStep;

/// <summary>
/// A whole boot of Linux to the shell, with commands, by both engines in lock step. VMM_LOCKSTEP_SLICE is how many instructions lie
/// between two comparisons of the processors (0: every block is compared), VMM_TRANSLATE_AFTER when a block is translated.
/// </summary>
[Collection("boots")]
public class LinuxLockStepTests
{
    private const string Commands = "uname -a; cat /proc/uptime /proc/interrupts; dmesg | sort | md5sum; busybox seq 1 2000 | busybox awk '{ s += $1 * 1.5 } END { print s / 7 }'; busybox gzip -c /bin/busybox | busybox sha256sum; ls -lR /sys/class | wc -l; " + GuestJit.Path + " r300";

    [Fact]
    public async Task Boot_InterpretedAndTranslated_IsAlikeStepByStep()
    {
        Assert.SkipUnless(Backends.Software.Translate.Translator.IsSupported, "The translator needs BMI2 and AVX2.");
        var kernel = await File.ReadAllBytesAsync((await RealGuests.KernelAsync()).Path);
        var busybox = await RealGuests.BusyboxAsync();
        var initramfs = LinuxShell.CreateInitramfs(busybox.Path, new LinuxShellOptions { Command = Commands, Customize = i => i.AddJit() }).Build();
        var consoles = new List<ConsolePipe>();
        using var pair = new EnginePair(
            backend =>
            {
                var console = new ConsolePipe();
                consoles.Add(console);
                return new VirtualMachineBuilder().WithBackend(backend).WithBoard(() => new MicroVmBoard(new MicroVmOptions { Console = console })).WithMemory(128 << 20)
                    .WithCountedTime(2).WithTimeProvider(new FixedTime()).WithLinux(kernel, LinuxShell.DefaultCommandLine, initramfs).Build();
            },
            Number("VMM_TRANSLATE_AFTER", 4));
        try
        {
            pair.RunToEnd((ulong)Number("VMM_LOCKSTEP_SLICE", 1_000_000), (ulong)Number("VMM_LOCKSTEP_CHECKPOINT", 50_000_000));
        }
        finally
        {
            TestContext.Current.TestOutputHelper!.WriteLine($"{pair.Instructions} instructions in {pair.Steps} steps, {pair.Checkpoints} checkpoints, {pair.Translated} blocks translated, undefined flags differed {pair.FlagsSettled} times");
        }

        Assert.Contains("jit: 300 rounds right", consoles[0].Text, StringComparison.Ordinal);
        Assert.Contains(LinuxShell.CommandExitMarker + "0", consoles[0].Text, StringComparison.Ordinal);
        Assert.Equal(consoles[0].Text, consoles[1].Text);
    }

    private static int Number(string name, int otherwise) => int.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out var value) ? value : otherwise;

    private sealed class FixedTime : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);
    }
}
