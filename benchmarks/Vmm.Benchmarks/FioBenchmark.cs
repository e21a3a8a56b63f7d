using System.Globalization;
using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.Guests;
using Vmm.Guests.Kernels;

namespace Vmm.Benchmarks;

/// <summary>
/// The same kernel, images and fio jobs on Vmm's software CPU and on QEMU's translator, in one run: host CPU time of all threads for each request, as the
/// difference between a job of many requests and the same job of one. CPU time, as other work on the host changes it less than it changes rates.
/// </summary>
internal static class FioBenchmark
{
    private const int Size = 32 << 20, Requests = 4096;

    private static readonly (string Name, int Block)[] Kinds = [("read", 64 << 10), ("write", 64 << 10), ("randread", 4 << 10), ("randwrite", 4 << 10)];

    private static readonly (string Name, string Script)[] Jobs =
    [
        .. from disk in (string[])["vda", "vdb"] from kind in Kinds select ($"{disk}-{kind.Name}",
            $"""
            #!/bin/busybox sh
            [ -d /tmp ] || mkdir /tmp
            fio --minimal --name=job --thread --filename=/dev/{disk} --rw={kind.Name} --bs={kind.Block} --size=24m --io_size=$((($1 > 0 ? $1 : 1) * {kind.Block})) --iodepth=32 --ioengine=libaio --direct=1 >/tmp/said && echo ok 0x0

            """),
    ];

    public static async Task RunAsync(string[] arguments)
    {
        var runs = ProgramBenchmark.Number(arguments, "runs=", 3);
        var engines = (arguments.FirstOrDefault(a => a.StartsWith("engines=", StringComparison.Ordinal))?["engines=".Length..].Split(',') ?? [Engine.Interpreter, Engine.Translator]).Select(n => new Engine(n)).ToList();
        if (Engine.HasQemu) engines.Insert(0, new Engine(Engine.Qemu));
        var folder = Directory.CreateTempSubdirectory("vmm-fio-").FullName;
        try
        {
            var images = new GuestImages();
            var kernel = await images.FindKernelAsync();
            var initrd = Path.Combine(folder, "initrd");
            await File.WriteAllBytesAsync(initrd, await BuildAsync(images, kernel));
            var times = new Dictionary<(string Engine, string Job), List<double>>();
            for (var run = 0; run < runs; run++)
            {
                foreach (var engine in engines)
                {
                    await MakeDisksAsync(folder);
                    using var guest = await GuestProcess.StartAsync(engine, kernel.Path, initrd, Path.Combine(folder, "disk.raw"), Path.Combine(folder, "disk.qcow2"))
                        ?? throw new TimeoutException($"{engine.Name} hung in its boot.");
                    foreach (var (name, _) in Jobs)
                    {
                        if (!times.TryGetValue((engine.Name, name), out var list)) times.Add((engine.Name, name), list = []);
                        list.Add(1e6 * await guest.MeasureAsync(name, Requests) / Requests);
                    }
                }

                Console.Error.WriteLine($"run {run + 1} of {runs} done");
            }

            Report(engines, times, runs);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void Report(List<Engine> engines, Dictionary<(string Engine, string Job), List<double>> times, int runs)
    {
        Console.WriteLine($"fio, 32 in flight, 64 KiB sequential or 4 KiB random; vda is raw, vdb qcow2; host CPU time for a request, median of {runs}\n");
        Console.WriteLine($"| job |{string.Concat(engines.Select(e => e.IsQemu ? $" {e.Name} us |" : $" {e.Name} us | / TCG |"))}");
        Console.WriteLine($"|---|{string.Concat(engines.Select(e => e.IsQemu ? "---|" : "---|---|"))}");
        foreach (var (name, _) in Jobs)
        {
            var line = $"| {name} |";
            foreach (var engine in engines)
            {
                var time = ProgramBenchmark.Median(times[(engine.Name, name)]);
                line += string.Create(CultureInfo.InvariantCulture, $" {time:0.0} |");
                if (!engine.IsQemu) line += times.TryGetValue((Engine.Qemu, name), out var others) ? string.Create(CultureInfo.InvariantCulture, $" {time / ProgramBenchmark.Median(others):0.00} |") : " |";
            }

            Console.WriteLine(line);
        }
    }

    private static async Task<byte[]> BuildAsync(GuestImages images, GuestKernel kernel)
    {
        var shell = new LinuxShellOptions { Command = GuestProcess.Script };
        var user = LinuxShell.CreateInitramfs((await images.FindBusyboxAsync()).Path, shell).AddModules(KernelModules.Open(kernel), ["virtio_mmio", "virtio_blk"]).AddPackages(await images.FindPackagesAsync(["fio"]));
        const UnixFileMode Executable = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        foreach (var (name, script) in Jobs) user = user.AddFile("bench/" + name, script.ReplaceLineEndings("\n"), Executable);
        return user.Build();
    }

    private static async Task MakeDisksAsync(string folder)
    {
        var contents = new byte[Size];
        new Random(1).NextBytes(contents);
        await File.WriteAllBytesAsync(Path.Combine(folder, "disk.raw"), contents);
        await using var file = RawFileStore.Create(Path.Combine(folder, "disk.qcow2"), 0, overwrite: true);
        await Qcow2Store.CreateAsync(file, Size);
        await using var image = await Qcow2Store.OpenAsync(file, "disk.qcow2");
        await DiskCopy.CopyAsync(new MemoryStore(contents), image);
    }
}
