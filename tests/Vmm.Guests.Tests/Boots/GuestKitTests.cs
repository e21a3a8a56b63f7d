using Vmm.Core;
using Vmm.Guests.Kernels;
using Vmm.Guests.Tests.Cpio;

namespace Vmm.Guests.Tests.Boots;

/// <summary>Kernel modules and Debian programs in real guests.</summary>
[Collection("boots")]
public class GuestKitTests
{
    [Fact]
    public async Task Modules_OfTheKernelsPackage_AreLoadedWithTheirDependencies()
    {
        await using var linux = await BootedLinux.StartAsync(
            modules: ["virtio_blk", "virtio-pci", "ext4", "loop max_loop=3"], command: "lsmod; cat /sys/module/loop/parameters/max_loop");
        Assert.Equal(MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);

        Assert.DoesNotContain("insmod", linux.Console.Text, StringComparison.Ordinal);
        foreach (var name in (string[])["virtio", "virtio_ring", "virtio_blk", "virtio_pci", "virtio_pci_modern_dev", "loop"])
            Assert.Matches($@"\n{name} +\d+ +\d+", linux.Console.Text);
        Assert.Matches(@"\n3\r?\n", linux.Console.Text);
        Assert.Contains("Not tainted", linux.Console.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Fio_FromItsPackage_RunsInTheGuest()
    {
        await using var linux = await BootedLinux.StartAsync(
            b => b.WithMemory(512L << 20), packages: ["fio", "e2fsprogs"], customize: i => i.AddFile("etc/hello", "from the host\n"),
            command: "fio --version && mkfs.ext4 -V 2>&1 && cat /etc/hello");
        Assert.Equal(MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);

        Assert.Matches(@"\nfio-3\.\d+", linux.Console.Text);
        Assert.Matches(@"\nmke2fs 1\.\d+", linux.Console.Text);
        Assert.Contains("\nfrom the host\r\n", linux.Console.Text, StringComparison.Ordinal);
        Assert.Contains(LinuxShell.CommandExitMarker + "0", linux.Console.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Modules_OfTheCloudKernel_AreAsDocumented()
    {
        var modules = KernelModules.Open(await RealGuests.KernelAsync());
        Assert.SkipUnless(modules.Release.StartsWith("6.1.", StringComparison.Ordinal) && modules.Release.EndsWith("-cloud-amd64", StringComparison.Ordinal), $"the documentation is of Debian 12's cloud kernel, this is {modules.Release}");

        Assert.All(["ext4", "jbd2", "crc32c_generic", "acpiphp"], name => Assert.True(modules.IsBuiltIn(name), name));
        Assert.All(
            ["virtio", "virtio_ring", "virtio_mmio", "virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "virtio_net", "virtio_balloon", "virtio_mem", "virtio_pmem", "nd_pmem",
             "virtio_scsi", "virtiofs", "fuse", "vsock", "crc32c_intel", "loop", "overlay", "squashfs", "xfs", "btrfs"],
            name => Assert.True(modules.Contains(name), name));
        Assert.False(modules.Contains("9p") || modules.IsBuiltIn("9p"));
        Assert.Equal(["virtio", "virtio_ring"], modules.Resolve("virtio_ring", "virtio").Select(m => m.Name).Order());
        Assert.Empty(modules.Resolve("ext4"));
    }

    [Fact]
    public async Task Packages_NeededLibraries_ComeAlongAndNothingElse()
    {
        var packages = await RealGuests.PackagesAsync("e2fsprogs");

        Assert.Contains("sbin/mke2fs", packages.Paths);
        Assert.Contains(packages.Paths, p => p.EndsWith("/libc.so.6", StringComparison.Ordinal));
        Assert.Contains("lib64/ld-linux-x86-64.so.2", packages.Paths);
        Assert.DoesNotContain(packages.Paths, p => p.StartsWith("usr/share/doc/", StringComparison.Ordinal) || p.Contains("libBrokenLocale", StringComparison.Ordinal));
        var archive = KernelCpioReader.Read(Initramfs.Create().AddFile("sbin/mke2fs", "mine").AddPackages(packages).Build());
        Assert.Equal("mine", archive.Single(e => e.Name == "sbin/mke2fs").Text);
        Assert.Equal("mke2fs", archive.Single(e => e.Name == "sbin/mkfs.ext4").Text);
    }
}
