using System.Diagnostics;
using System.Globalization;
using System.IO.Pipelines;
using Vmm.Backends.Software;
using Vmm.Core;
using Vmm.Core.Boot;
using Vmm.Devices.Boards;
using Vmm.Guests;

namespace Vmm.Benchmarks;

/// <summary>What runs a guest: QEMU's translator, or an engine of Vmm's software CPU in a process of its own.</summary>
internal sealed record Engine(string Name)
{
    public const string Qemu = "QEMU TCG", Interpreter = "interpreter", Translator = "translator", ChildArgument = "guest-child";

    /// <summary>Guest RAM, in MiB.</summary>
    public const int Megabytes = 256;

    public bool IsQemu => Name == Qemu;

    public static bool HasQemu => Environment.GetEnvironmentVariable("PATH")!.Split(Path.PathSeparator).Any(d => File.Exists(Path.Combine(d, "qemu-system-x86_64")));

    public ProcessStartInfo Command(string kernel, string initrd)
    {
        if (!IsQemu) return new ProcessStartInfo(Environment.ProcessPath!, [ChildArgument, Name, kernel, initrd]);
        // With the frequency given the kernel does not calibrate its TSC, in which QEMU's microvm hangs now and then.
        var khz = File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("cpu MHz", StringComparison.Ordinal)) is { } line
            ? $" tsc_early_khz={(long)(1000 * double.Parse(line.Split(':')[1], CultureInfo.InvariantCulture))}" : "";
        return new ProcessStartInfo("qemu-system-x86_64",
        [
            "-M", "microvm,pit=on,pic=on,rtc=on", "-accel", "tcg", "-cpu", "max", "-m", $"{Megabytes}", "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd, "-append", LinuxShell.DefaultCommandLine + khz,
        ]);
    }

    /// <summary>The child's side: a guest whose console is this process's standard input and output.</summary>
    public static async Task RunChildAsync(string name, string kernel, string initrd)
    {
        var console = new StandardConsole(PipeReader.Create(Console.OpenStandardInput()), PipeWriter.Create(Console.OpenStandardOutput()));
        await using var machine = new VirtualMachineBuilder()
            .WithBackend(Backend(name))
            .WithBoard(() => new MicroVmBoard(new MicroVmOptions { Console = console }))
            .WithMemory((long)Megabytes << 20)
            .WithLinux(await File.ReadAllBytesAsync(kernel), LinuxShell.DefaultCommandLine, await File.ReadAllBytesAsync(initrd))
            .Build();
        await machine.StartAsync();
        Console.Error.WriteLine(await machine.Completion);
    }

    private static SoftwareHypervisor Backend(string name) => name switch
    {
        Interpreter => new SoftwareHypervisor { Engine = CpuEngine.Interpret },
        Translator => new SoftwareHypervisor { Engine = CpuEngine.Translate },
        _ => throw new ArgumentException($"There is no engine '{name}'.", nameof(name)),
    };

    private sealed record StandardConsole(PipeReader Input, PipeWriter Output) : IDuplexPipe;
}
