using System.Diagnostics;
using System.Globalization;
using Vmm.Backends.Software;
using Vmm.Core;
using Vmm.Core.Boot;
using Vmm.Devices.Boards;
using Vmm.Devices.Serial;
using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.Devices.Virtio.Block;
using Vmm.Guests;
using Vmm.Guests.Kernels;

namespace Vmm.Benchmarks;

/// <summary>The same kernel, images and fio jobs on Vmm's software CPU and on QEMU TCG: requests a second as fio in the guest counts them.</summary>
internal static class FioBenchmark
{
    private const int Size = 32 << 20, Megabytes = 512;

    private static readonly string[] Jobs = ["read", "write", "randread", "randwrite"];

    public static async Task RunAsync()
    {
        var images = new GuestImages();
        var kernel = await images.FindKernelAsync();
        var busybox = await images.FindBusyboxAsync();
        var script = "mkdir -p /tmp; " + string.Join("; ", from disk in (string[])["vda", "vdb"] from job in Jobs select
            $"fio --minimal --name={disk}-{job} --thread --filename=/dev/{disk} --rw={job} --bs={(job.StartsWith("rand", StringComparison.Ordinal) ? "4k" : "64k")} --size=24m --io_size=4m --iodepth=32 --ioengine=libaio --direct=1");
        var initrd = LinuxShell.CreateInitramfs(busybox.Path, new LinuxShellOptions { Command = script })
            .AddModules(KernelModules.Open(kernel), ["virtio_mmio", "virtio_blk"]).AddPackages(await images.FindPackagesAsync(["fio"])).Build();
        var folder = Directory.CreateTempSubdirectory("vmm-fio-").FullName;
        try
        {
            await MakeDisksAsync(folder);
            var ours = Parse(await RunVmmAsync(kernel.Path, initrd, folder));
            await MakeDisksAsync(folder);
            var qemu = Engine.HasQemu ? Parse(await RunQemuAsync(kernel.Path, initrd, folder)) : [];
            Console.WriteLine("fio, 32 in flight; requests a second in the guest; vda is raw, vdb qcow2");
            foreach (var (job, rate) in ours)
            {
                var other = qemu.GetValueOrDefault(job);
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {job,-14} vmm {rate,8:0}  QEMU TCG {other,8:0}  ratio {(other > 0 ? rate / other : 0):0.00}"));
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
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

    private static async Task<string> RunVmmAsync(string kernel, byte[] initrd, string folder)
    {
        var console = new ConsolePipe();
        IBlockStore[] disks = [RawFileStore.Open(Path.Combine(folder, "disk.raw")), await DiskImage.OpenAsync(Path.Combine(folder, "disk.qcow2"), DiskFormat.Qcow2)];
        await using var machine = new VirtualMachineBuilder().WithBackend(new SoftwareHypervisor()).WithBoard(() => new MicroVmBoard(new MicroVmOptions { Console = console })).WithMemory((ulong)Megabytes << 20)
            .WithLinux(await File.ReadAllBytesAsync(kernel), LinuxShell.DefaultCommandLine, initrd)
            .AddVirtioBlock("disk0", () => disks[0]).AddVirtioBlock("disk1", () => disks[1]).Build();
        await machine.StartAsync();
        await machine.Completion;
        return console.Text;
    }

    private static async Task<string> RunQemuAsync(string kernel, byte[] initrd, string folder)
    {
        var path = Path.Combine(folder, "initrd");
        await File.WriteAllBytesAsync(path, initrd);
        var start = new Engine(Engine.Qemu).Command(kernel, path);
        start.RedirectStandardOutput = start.RedirectStandardInput = true;
        start.ArgumentList[start.ArgumentList.IndexOf("-m") + 1] = $"{Megabytes}";
        foreach (var (name, format) in ((string, string)[])[("disk.raw", "raw"), ("disk.qcow2", "qcow2")])
        {
            foreach (var argument in (string[])["-drive", $"id={format},if=none,format={format},file={Path.Combine(folder, name)}", "-device", $"virtio-blk-device,drive={format}"]) start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start)!;
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(5));
        await using var kill = patience.Token.Register(() => process.Kill());
        return await process.StandardOutput.ReadToEndAsync(CancellationToken.None);
    }

    /// <summary>Job and rate from fio's terse format, version 3: fields 8 and 49 are the requests a second of reads and writes.</summary>
    private static Dictionary<string, double> Parse(string console)
    {
        var rates = new Dictionary<string, double>();
        foreach (var line in console.Split('\n'))
        {
            var fields = line.Trim().Split(';');
            if (fields.Length < 50 || fields[0] != "3") continue;
            rates[fields[2]] = double.Parse(fields[7], CultureInfo.InvariantCulture) + double.Parse(fields[48], CultureInfo.InvariantCulture);
        }

        return rates;
    }
}
