using System.Diagnostics;
using System.Globalization;
using System.IO.Pipelines;
using Vmm.Backends.Software;
using Vmm.Core;
using Vmm.Core.Boot;
using Vmm.Devices.Boards;
using Vmm.Devices.Storage;
using Vmm.Devices.Virtio.Block;
using Vmm.Guests;

namespace Vmm.Benchmarks;

/// <summary>What runs a guest: QEMU's translator, or an engine of Vmm's software CPU in a process of its own.</summary>
internal sealed record Engine(string Name)
{
    public const string Qemu = "QEMU TCG", Interpreter = "interpreter", Translator = "translator", ChildArgument = "guest-child";

    /// <summary>Guest RAM without disks, in MiB.</summary>
    public const int Megabytes = 256;

    public bool IsQemu => Name == Qemu;

    public static bool HasQemu => Environment.GetEnvironmentVariable("PATH")!.Split(Path.PathSeparator).Any(d => File.Exists(Path.Combine(d, "qemu-system-x86_64")));

    /// <summary>How to start it. With disks (files that end in .raw or .qcow2) the guest has twice the RAM.</summary>
    public ProcessStartInfo Command(string kernel, string initrd, params string[] disks)
    {
        if (!IsQemu) return new ProcessStartInfo(Environment.ProcessPath!, [ChildArgument, Name, kernel, initrd, .. disks]);
        // With the frequency given the kernel does not calibrate its TSC, in which QEMU's microvm hangs now and then.
        var khz = File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("cpu MHz", StringComparison.Ordinal)) is { } line
            ? $" tsc_early_khz={(long)(1000 * double.Parse(line.Split(':')[1], CultureInfo.InvariantCulture))}" : "";
        var drives = disks.SelectMany((disk, i) => (string[])["-drive", $"id=disk{i},if=none,format={Path.GetExtension(disk)[1..]},file={disk}", "-device", $"virtio-blk-device,drive=disk{i}"]);
        return new ProcessStartInfo("qemu-system-x86_64",
        [
            "-M", "microvm,pit=on,pic=on,rtc=on", "-accel", "tcg", "-cpu", "max", "-m", $"{Ram(disks)}", "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd, "-append", LinuxShell.DefaultCommandLine + khz, .. drives,
        ]);
    }

    /// <summary>The child's side: a guest whose console is this process's standard input and output.</summary>
    public static async Task RunChildAsync(string name, string kernel, string initrd, string[] disks)
    {
        await using var machine = await BuildAsync(name, kernel, initrd, disks);
        // Until now this runs on top of the method that still holds the images.
        await Task.Yield();
        // The images are in the guest's memory now. Little is allocated from here on, so nothing else would free them on the host.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive);
        await machine.StartAsync();
        Console.Error.WriteLine(await machine.Completion);
    }

    private static async Task<VirtualMachine> BuildAsync(string name, string kernel, string initrd, string[] disks)
    {
        var console = new StandardConsole(PipeReader.Create(Console.OpenStandardInput()), PipeWriter.Create(Console.OpenStandardOutput()));
        var builder = new VirtualMachineBuilder()
            .WithBackend(Backend(name))
            .WithBoard(() => new MicroVmBoard(new MicroVmOptions { Console = console }))
            .WithMemory((ulong)Ram(disks) << 20)
            .WithLinux(await File.ReadAllBytesAsync(kernel), LinuxShell.DefaultCommandLine, await File.ReadAllBytesAsync(initrd));
        for (var i = 0; i < disks.Length; i++)
        {
            var store = await DiskImage.OpenAsync(disks[i], Path.GetExtension(disks[i]) == ".raw" ? DiskFormat.Raw : DiskFormat.Qcow2);
            builder = builder.AddVirtioBlock($"disk{i}", () => store);
        }

        return builder.Build();
    }

    /// <summary>Guest RAM with so many disks, in MiB.</summary>
    public static int Ram(string[] disks) => disks.Length == 0 ? Megabytes : 2 * Megabytes;

    private static SoftwareHypervisor Backend(string name) => name switch
    {
        Interpreter => new SoftwareHypervisor { Engine = CpuEngine.Interpret },
        Translator => new SoftwareHypervisor { Engine = CpuEngine.Translate },
        _ => throw new ArgumentException($"There is no engine '{name}'.", nameof(name)),
    };

    private sealed record StandardConsole(PipeReader Input, PipeWriter Output) : IDuplexPipe;
}
