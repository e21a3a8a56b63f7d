using System.Diagnostics;
using Vmm.Core;
using Vmm.Core.Boot;
using Vmm.Devices.Boards;
using Vmm.Devices.Serial;
using Vmm.Guests;

namespace Vmm.Benchmarks;

/// <summary>
/// Boots the Debian cloud kernel to userspace and off again, on the software CPU and on QEMU's translator in the same run, and
/// compares host CPU time. Vmm runs in a process of its own each time, runtime start-up included, as QEMU does.
/// </summary>
internal static class BootBenchmark
{
    private const int Runs = 5;
    private const string InChild = "VMM_BENCHMARK_CHILD";

    public static async Task RunAsync()
    {
        var images = new GuestImages();
        var kernel = (await images.FindKernelAsync()).Path;
        var initramfs = LinuxShell.BuildInitramfs((await images.FindBusyboxAsync()).Path, new LinuxShellOptions { Command = "true" });
        if (Environment.GetEnvironmentVariable(InChild) is not null)
        {
            await BootAsync(kernel, initramfs);
            return;
        }

        var initrd = Path.GetTempFileName();
        try
        {
            await File.WriteAllBytesAsync(initrd, initramfs);
            var (vmm, qemu) = (new List<double>(), new List<double>());
            var (last, hung) = ("", 0);
            for (var i = 0; i < Runs; i++)
            {
                (var seconds, last) = await MeasureAsync(Environment.ProcessPath!, ["boot"], (InChild, "1")) ?? throw new TimeoutException("Vmm's boot hung.");
                vmm.Add(seconds);
                if (!HasQemu()) continue;
                if (await MeasureAsync("qemu-system-x86_64", ["-M", "microvm,pit=on,pic=on,rtc=on", "-accel", "tcg", "-cpu", "max", "-m", "256", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd, "-append", LinuxShell.DefaultCommandLine]) is { } run) qemu.Add(run.Seconds);
                else hung++;
            }

            Console.WriteLine($"kernel boot    {Median(vmm):F2} s of CPU time (median of {Runs}); {last.Trim()}");
            if (qemu.Count > 0) Console.WriteLine($"QEMU TCG       {Median(qemu):F2} s of CPU time for the same kernel and initramfs; ratio Vmm / QEMU {Median(vmm) / Median(qemu):F2}{(hung == 0 ? "" : $"; {hung} of {Runs} QEMU runs hung")}");
            else Console.WriteLine(HasQemu() ? $"QEMU TCG       hung in all {Runs} runs" : "QEMU TCG       not installed: apt-get install qemu-system-x86");
        }
        finally
        {
            File.Delete(initrd);
        }
    }

    private static async Task BootAsync(string kernel, byte[] initramfs)
    {
        var console = new ConsolePipe();
        await using var machine = new VirtualMachineBuilder()
            .WithBackend(VmmHost.SelectBackend("software"))
            .WithBoard(() => new MicroVmBoard(new MicroVmOptions { Console = console }))
            .WithLinux(await File.ReadAllBytesAsync(kernel), LinuxShell.DefaultCommandLine, initramfs)
            .Build();
        using var process = Process.GetCurrentProcess();
        var before = process.TotalProcessorTime;
        await machine.StartAsync();
        var exit = await machine.Completion;
        process.Refresh();
        if (exit.Kind != MachineExitKind.PoweredOff) throw new InvalidOperationException($"The guest ended by {exit}.");
        var instructions = machine.Partition.Vcpus[0].InstructionsRetired;
        Console.WriteLine($"{instructions / 1e6:F0} M instructions, {instructions / (process.TotalProcessorTime - before).TotalSeconds / 1e6:F0} MIPS");
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static bool HasQemu() => Environment.GetEnvironmentVariable("PATH")!.Split(Path.PathSeparator).Any(d => File.Exists(Path.Combine(d, "qemu-system-x86_64")));

    private static async Task<(double Seconds, string Output)?> MeasureAsync(string program, string[] arguments, params (string Name, string Value)[] environment)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardInput = true };
        foreach (var (name, value) in environment) start.Environment[name] = value;
        var before = ChildTime.Seconds;
        using var process = Process.Start(start)!;
        // QEMU's microvm now and then hangs in the calibration of its TSC; such a run does not count.
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(45));
        try
        {
            var output = await process.StandardOutput.ReadToEndAsync(patience.Token);
            await process.WaitForExitAsync(patience.Token);
            return (ChildTime.Seconds - before, output);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            await process.WaitForExitAsync();
            return null;
        }
    }
}
