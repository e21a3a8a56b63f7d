using Vmm.Backends.Software;
using Vmm.Core;
using Vmm.Core.Boot;
using Vmm.Devices.Boards;
using Vmm.Devices.Serial;
using Vmm.Devices.Storage;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Guests.Kernels;

namespace Vmm.Guests.Tests.Boots;

/// <summary>Disks with Linux's own driver, on both transports, both ring layouts and both formats that can be written.</summary>
[Collection("boots")]
public class BlockLinuxTests
{
    private static readonly string[] Modules = ["virtio_mmio", "virtio_pci", "virtio_blk"];

    private const string Complaints = "dmesg | grep -v 'report a bug' | grep -iE '(virtio|pci|irq|vda|vdb|blk|ext4|i/o).*(error|fail|bug|unable|nobody|timed out|broken|not a head|id .* is not)' | sed 's/^/COMPLAINT /'";

    /// <summary>Every value with every other one of each kind; VMM_TEST_DISK_MATRIX=1 for all sixteen together.</summary>
    public static TheoryData<VirtioTransportKind, bool, int, DiskFormat> Cases
    {
        get
        {
            var all = Environment.GetEnvironmentVariable("VMM_TEST_DISK_MATRIX") == "1";
            var cases = new TheoryData<VirtioTransportKind, bool, int, DiskFormat>();
            foreach (var transport in Enum.GetValues<VirtioTransportKind>())
            {
                foreach (var packed in (bool[])[false, true])
                {
                    foreach (var vcpus in (int[])[1, 2])
                    {
                        foreach (var format in (DiskFormat[])[DiskFormat.Raw, DiskFormat.Qcow2])
                        {
                            // Half of the pairs of transport and layout with one processor, and of those half with each format.
                            var (first, second) = ((transport == VirtioTransportKind.Pci) == packed, packed == (format == DiskFormat.Raw));
                            if (all || (first == (vcpus == 1) && second)) cases.Add(transport, packed, vcpus, format);
                        }
                    }
                }
            }

            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Disks_WithLinux_HoldAFileSystemAndWhatFioVerifies(VirtioTransportKind transport, bool packed, int vcpus, DiskFormat format)
    {
        using var scratch = new Scratch();
        var files = new[] { scratch.At("files"), scratch.At("fio") };
        Make(scratch, files[0], format, withFileSystem: true);
        Make(scratch, files[1], format, withFileSystem: false);
        var options = new VirtioOptions { Transport = transport, Packed = packed };
        var stores = new[] { await DiskImage.OpenAsync(files[0], format), await DiskImage.OpenAsync(files[1], format) };
        await using (var linux = await BootedLinux.StartAsync(
            b => b.WithMemory(512L << 20).WithVcpus(vcpus)
                .AddVirtioBlock("disk0", () => stores[0], new VirtioBlockOptions { Queues = vcpus, Serial = "first" }, options)
                .AddVirtioBlock("disk1", () => stores[1], new VirtioBlockOptions { Queues = vcpus }, options),
            pc: transport == VirtioTransportKind.Pci, modules: Modules, packages: ["fio"],
            command: "mkdir -p /tmp /mnt; echo serial=$(cat /sys/block/vda/serial) mq=$(ls /sys/block/vda/mq | wc -l); mount -t ext4 /dev/vda /mnt && cp /bin/busybox /mnt/copy && echo hello >/mnt/greeting && rm /mnt/there && sync && md5sum /bin/busybox /mnt/copy && umount /mnt; " +
                "fio --name=v --thread --filename=/dev/vdb --rw=randwrite --bs=4k --size=2m --iodepth=32 --ioengine=libaio --direct=1 --verify=crc32c --do_verify=1 --output-format=normal | grep -E 'err=|IO depths' ; " + Complaints))
        {
            Assert.Equal(MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);
            var text = linux.Console.Text;
            Assert.Contains($"serial=first mq={vcpus}", text, StringComparison.Ordinal);
            Assert.Matches(@"err= 0", text);
            Assert.DoesNotContain("COMPLAINT", text, StringComparison.Ordinal);
            var sums = System.Text.RegularExpressions.Regex.Matches(text, @"([0-9a-f]{32})  /");
            Assert.Equal(2, sums.Count);
            Assert.Equal(sums[0].Groups[1].Value, sums[1].Groups[1].Value);
        }

        // The machine has closed the disks.
        var raw = files[0];
        if (format == DiskFormat.Qcow2)
        {
            foreach (var file in files)
            {
                HostTool.Run("qemu-img", ["check", "-q", "-f", "qcow2", file]);
                await using (var source = await DiskImage.OpenAsync(file, format, new DiskOptions { ReadOnly = true }))
                await using (var target = RawFileStore.Create(file + ".raw", source.Length)) await DiskCopy.CopyAsync(source, target);
                HostTool.Run("qemu-img", ["compare", "-q", "-f", "qcow2", "-F", "raw", file, file + ".raw"]);
            }

            raw += ".raw";
        }

        HostTool.Run("e2fsck", ["-f", "-n", raw]);
        Assert.Equal("hello\n", System.Text.Encoding.UTF8.GetString(HostTool.Run("debugfs", ["-R", "cat /greeting", raw])));
    }

    [Fact]
    public async Task Disk_ResizedUnderARunningGuest_IsSeenAndUsed()
    {
        VirtioBlock? disk = null;
        await using var linux = await BootedLinux.StartAsync(b => b.AddVirtio("disk", _ => disk = new VirtioBlock(new MemoryStore(8 << 20))), modules: Modules);
        await linux.ReadyAsync();
        Assert.Contains("16384", await linux.RunAsync("cat /sys/block/vda/size"), StringComparison.Ordinal);
        await disk!.ResizeAsync(24 << 20);
        await linux.RunAsync("while [ $(cat /sys/block/vda/size) != 49152 ]; do :; done; echo changed");
        await linux.RunAsync("echo end | dd of=/dev/vda bs=512 seek=49151 conv=sync 2>/dev/null");
        Assert.Contains("capacity change from 16384 to 49152", await linux.RunAsync("dmesg | tail -n 3"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(VirtioTransportKind.Mmio, false, 1)]
    [InlineData(VirtioTransportKind.Pci, true, 2)]
    public async Task Debian_FromItsDisk_ReachesALogin(VirtioTransportKind transport, bool packed, int vcpus)
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("CI") == "true" || Environment.GetEnvironmentVariable("VMM_TEST_DEBIAN") == "1", "a whole Debian takes a while to make and to boot: set VMM_TEST_DEBIAN=1");
        var image = RootDisk.Get();
        var kernel = await RealGuests.KernelAsync();
        var initramfs = LinuxDisk.CreateInitramfs((await RealGuests.BusyboxAsync()).Path).AddModules(KernelModules.Open(kernel), Modules).Build();
        var console = new ConsolePipe();
        var pci = transport == VirtioTransportKind.Pci;
        await using var machine = new VirtualMachineBuilder().WithBackend(new SoftwareHypervisor()).WithBoard(() => new MicroVmBoard(new MicroVmOptions { Console = console, Pci = pci })).WithMemory(512L << 20).WithVcpus(vcpus)
            .WithLinux(await File.ReadAllBytesAsync(kernel.Path), LinuxShell.DefaultCommandLine, initramfs)
            .AddVirtioBlock("root", () => new OverlayStore(RawFileStore.Open(image, new RawFileOptions { ReadOnly = true })), new VirtioBlockOptions { Queues = vcpus }, new VirtioOptions { Transport = transport, Packed = packed })
            .Build();
        await machine.StartAsync();
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(8));
        await console.WaitForAsync(RootDisk.LoginPrompt, patience.Token);
        await console.WriteLineAsync("root", patience.Token);
        await console.WaitForAsync("vmmdisk:~#", patience.Token);
        await console.WriteLineAsync($"{Complaints}; echo root is on $(findmnt -no SOURCE,FSTYPE /), $(nproc) cpus; poweroff", patience.Token);
        await console.WaitForAsync($"root is on /dev/vda ext4, {vcpus} cpus", patience.Token);
        Assert.Equal(MachineExitKind.PoweredOff, (await machine.Completion.WaitAsync(patience.Token)).Kind);
        Assert.DoesNotContain(LinuxDisk.FailureMarker, console.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("\nCOMPLAINT", console.Text, StringComparison.Ordinal);
    }

    private static void Make(Scratch scratch, string file, DiskFormat format, bool withFileSystem)
    {
        var raw = format == DiskFormat.Raw ? file : file + ".made";
        using (var made = File.Create(raw)) made.SetLength(withFileSystem ? 16 << 20 : 4 << 20);
        if (withFileSystem)
        {
            Directory.CreateDirectory(scratch.At("tree"));
            File.WriteAllText(Path.Combine(scratch.At("tree"), "there"), "once");
            HostTool.Run("mkfs.ext4", ["-q", "-F", "-d", scratch.At("tree"), raw]);
        }

        if (format == DiskFormat.Qcow2) HostTool.Run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, file]);
    }
}
