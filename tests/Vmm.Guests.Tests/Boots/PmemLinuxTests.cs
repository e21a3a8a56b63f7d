using System.Text;
using Vmm.Core;
using Vmm.Devices.Storage;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Pmem;

namespace Vmm.Guests.Tests.Boots;

/// <summary>Persistent memory with Linux's own driver: a file system on it, mapped into a program without the guest's page cache.</summary>
[Collection("boots")]
public class PmemLinuxTests
{
    // Linux 6.1 does not know of virtio's flush when it says that of persistence.
    private const string Complaints = "dmesg | grep -vE 'report a bug|unable to guarantee persistence' | grep -iE '(virtio|pci|irq|pmem|nvdimm|nd_|ext4|dax|i/o).*(error|fail|bug|unable|nobody|timed out|broken|conflict)' | sed 's/^/COMPLAINT /'";

    [Theory]
    [InlineData(VirtioTransportKind.Mmio, false)]
    [InlineData(VirtioTransportKind.Pci, true)]
    public async Task File_AsPersistentMemory_HoldsAFileSystem(VirtioTransportKind transport, bool packed)
    {
        using var scratch = new Scratch();
        var file = scratch.At("pmem");
        Directory.CreateDirectory(scratch.At("tree"));
        await File.WriteAllTextAsync(Path.Combine(scratch.At("tree"), "there"), "once");
        await using (var made = File.Create(file)) made.SetLength(32 << 20);
        HostTool.Run("mkfs.ext4", ["-q", "-F", "-b", "4096", "-d", scratch.At("tree"), file]);
        await using (var linux = await BootedLinux.StartAsync(
            b => b.WithMemory(384L << 20).AddVirtioPmem("pmem", () => MappedFile.Open(file), new VirtioOptions { Transport = transport, Packed = packed }),
            pc: transport == VirtioTransportKind.Pci, modules: ["virtio_mmio", "virtio_pci", "virtio_pmem", "nd_pmem"],
            command: "mkdir -p /mnt; echo size=$(cat /sys/block/pmem0/size); mount -t ext4 -o dax /dev/pmem0 /mnt && grep -o 'pmem0 .* ext4 .*dax' /proc/mounts; cp /bin/busybox /mnt/busybox && echo hello >/mnt/greeting && rm /mnt/there && sync && "
                + "/mnt/busybox md5sum /bin/busybox /mnt/busybox && umount /mnt; grep virtio /proc/interrupts | grep -cE ': +[1-9]' | sed s/^/flushed=/; " + Complaints))
        {
            Assert.Equal(MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);
            var text = linux.Console.Text;
            Assert.Matches(@"size=65536\r?\n", text);
            Assert.Matches(@"pmem0 /mnt ext4 \S*dax", text);
            Assert.Matches(@"flushed=[1-9]", text); // an interrupt is an answer: there is no other virtio device
            Assert.Equal("", System.Text.RegularExpressions.Regex.Match(text, "COMPLAINT.*").Value);
            var sums = System.Text.RegularExpressions.Regex.Matches(text, @"([0-9a-f]{32})  /");
            Assert.Equal(2, sums.Count);
            Assert.Equal(sums[0].Groups[1].Value, sums[1].Groups[1].Value);
        }

        HostTool.Run("e2fsck", ["-f", "-n", file]);
        Assert.Equal("hello\n", Encoding.UTF8.GetString(HostTool.Run("debugfs", ["-R", "cat /greeting", file])));
    }
}
