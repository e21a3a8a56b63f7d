using System.Globalization;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Vmm.Core;
using Vmm.Devices.Storage;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Guests.Tests.Boots;

/// <summary>A disk that comes and goes in a running Linux, under I/O.</summary>
[Collection("boots")]
public class DiskHotPlugTests
{
    private const int DiskSize = 1 << 20;

    // VMM_PLUGS=100 for more.
    [Theory]
    [InlineData(1, false)]
    [InlineData(2, true)]
    public async Task Disk_PluggedAndUnpluggedTenTimesUnderIO_LosesNoByte(int vcpus, bool packed)
    {
        var count = int.Parse(Environment.GetEnvironmentVariable("VMM_PLUGS") ?? "10", CultureInfo.InvariantCulture);
        var directory = Directory.CreateTempSubdirectory("vmm-hotplug").FullName;
        var (stays, comes) = (Path.Combine(directory, "stays.img"), Path.Combine(directory, "comes.img"));
        try
        {
            await RawFileStore.Create(stays, DiskSize).DisposeAsync();
            await RawFileStore.Create(comes, DiskSize).DisposeAsync();
            var options = new VirtioOptions { Transport = VirtioTransportKind.Pci, Packed = packed };
            await using var linux = await BootedLinux.StartAsync(
                b => b.WithVcpus(vcpus).AddVirtioBlock("stays", () => RawFileStore.Open(stays), options: options), pci: true, modules: ["virtio_pci", "virtio_blk"]);
            await linux.ReadyAsync();

            // Another disk is written and verified all the time.
            await linux.RunAsync("{ (i=0; while [ ! -e /tmp/stop ]; do sleep 0.1; dd if=/dev/urandom of=/tmp/block bs=64k count=4 2>/dev/null; dd if=/tmp/block of=/dev/vda bs=64k seek=$((i%4*4)) conv=fsync,notrunc 2>/dev/null; "
                + "dd if=/dev/vda bs=64k skip=$((i%4*4)) count=4 2>/dev/null | cmp - /tmp/block || echo bad >> /tmp/errors; i=$((i+1)); done; echo $i > /tmp/rounds) </dev/null & }");
            var digest = Digest(comes);
            for (var i = 0; i < count; i++)
            {
                await linux.Machine.PlugAsync(m => m.AddVirtio("comes", new VirtioBlock(RawFileStore.Open(comes)), options with { PciDevice = 4 + i % 3 }), linux.Token);

                // What the last guest's write left is there; then all of it is written anew, and read on and on while the disk is taken away.
                Assert.Contains(digest, await linux.RunAsync("until [ -b /dev/vdb ]; do sleep 0.02; done; sha256sum /dev/vdb"), StringComparison.OrdinalIgnoreCase);
                var written = await linux.RunAsync("dd if=/dev/urandom of=/tmp/all bs=64k count=16 2>/dev/null; dd if=/tmp/all of=/dev/vdb bs=256k conv=fsync 2>/dev/null && sha256sum /tmp/all");
                digest = Regex.Match(written, "[0-9a-f]{64}").Value;
                await linux.RunAsync("{ (while dd if=/dev/vdb of=/dev/null bs=64k 2>/dev/null; do :; done) </dev/null & }");
                Assert.Equal(UnplugResult.Unplugged, await linux.Machine.UnplugAsync("comes", BootedLinux.Patience, linux.Token));
                Assert.Equal(digest, Digest(comes));
                await linux.RunAsync("while [ -b /dev/vdb ]; do sleep 0.02; done");
            }

            await linux.RunAsync("touch /tmp/stop; while [ ! -e /tmp/rounds ]; do sleep 0.02; done");
            Assert.Contains("no errors", await linux.RunAsync("[ -e /tmp/errors ] || echo no' 'errors; cat /tmp/rounds"), StringComparison.Ordinal);
            var complaints = Regex.Matches(await linux.RunAsync("dmesg"), @"WARNING:|BUG:|Call Trace|ACPI Error|hung task|virtio.*(fail|error)|vda.*error", RegexOptions.IgnoreCase);
            Assert.Empty(complaints.Select(m => m.Value));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static string Digest(string path) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path)));
}
