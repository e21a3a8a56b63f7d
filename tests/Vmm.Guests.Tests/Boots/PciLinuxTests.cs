using System.Globalization;
using System.Text.RegularExpressions;
using Vmm.Core;
using Vmm.Devices.Boards;
using Vmm.Devices.Pci;
using Vmm.TestSupport.Pci;

namespace Vmm.Guests.Tests.Boots;

/// <summary>PCI as Linux finds it, and functions that come and go while it runs.</summary>
[Collection("boots")]
public class PciLinuxTests
{
    // What a kernel says of PCI that it does not like.
    private static readonly Regex Complaint = new(
        @"No config space|can't claim|no compatible bridge|failed to assign|no space for|ACPI (Error|Warning|BIOS)|FW_BUG|Firmware Bug|not reserved|BAR \d: (error|can't|invalid)|nobody cared|acpiphp.*(fail|error)|invalid|conflict|WARNING:|BUG:|Call Trace",
        RegexOptions.IgnoreCase);

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 2)]
    public async Task Functions_OfAMachine_AreFoundAndPlaced(bool pc, int vcpus)
    {
        await using var linux = await BootedLinux.StartAsync(b => b.WithVcpus(vcpus).AddPciFunction("scratch", _ => new ScratchFunction()).AddPciFunction("other", _ => new ScratchFunction(), 9), pc: pc, pci: true);
        await linux.ReadyAsync();
        Assert.Matches(@"0000:00:00\.0\s+0000:00:01\.0\s+0000:00:09\.0", await linux.RunAsync("ls -1 /sys/bus/pci/devices"));
        var found = await linux.RunAsync("cd /sys/bus/pci/devices/0000:00:01.0; cat vendor device class irq resource; echo 1 > enable && cat enable");
        Assert.Matches(@"0x1234\s+0x5c4a\s+0xff0000\s+\d+\s", found);
        var ranges = Regex.Matches(found, "0x([0-9a-f]{16}) 0x([0-9a-f]{16}) 0x[0-9a-f]{16}").Select(m => (Start: Hex(m.Groups[1]), End: Hex(m.Groups[2]))).Take(6).ToArray();
        Assert.Equal([0x1000ul, 0x20ul, 0x10000ul, 1ul, 0x4000ul, 1ul], ranges.Select(r => r.End - r.Start + 1));
        Assert.Contains("0x54415243", await linux.RunAsync($"devmem 0x{ranges[0].Start:x} 32"), StringComparison.OrdinalIgnoreCase);

        var messages = await linux.RunAsync("dmesg | grep -iE 'pci|acpi|mmconfig|BAR'");
        Assert.Empty(Complaint.Matches(messages).Select(m => m.Value));
        Assert.Contains("MMCONFIG", messages, StringComparison.Ordinal);
    }

    // VMM_PLUGS=100 for more.
    [Theory]
    [InlineData(false, 2)]
    [InlineData(true, 1)]
    public async Task Function_PluggedAndUnpluggedTenTimes_ComesAndGoesInTheGuest(bool pc, int vcpus)
    {
        var count = int.Parse(Environment.GetEnvironmentVariable("VMM_PLUGS") ?? "10", CultureInfo.InvariantCulture);
        await using var linux = await BootedLinux.StartAsync(b => b.WithVcpus(vcpus), pc: pc, pci: true);
        await linux.ReadyAsync();
        for (var i = 0; i < count; i++)
        {
            var function = new ScratchFunction();
            await linux.Machine.PlugAsync(m => m.AddPciFunction("extra", function, 3 + i % 4));
            var device = $"/sys/bus/pci/devices/0000:00:0{3 + i % 4}.0";
            Assert.Contains("0x5c4a", await linux.RunAsync($"until [ -e {device}/resource0 ]; do sleep 0.05; done; echo 1 > {device}/enable; cat {device}/device"), StringComparison.Ordinal);
            Assert.True(await linux.RunAsync($"devmem $(head -n1 {device}/resource | cut -d' ' -f1) 32") is var id && id.Contains("0x54415243", StringComparison.OrdinalIgnoreCase), id);
            Assert.Equal(UnplugResult.Unplugged, await linux.Machine.UnplugAsync("extra", BootedLinux.Patience));
            Assert.True(function.IsDisposed);
            Assert.Contains("gone", await linux.RunAsync($"[ -e {device} ] || echo go''ne"), StringComparison.Ordinal);
        }

        // A guest may also let go by itself.
        var last = new ScratchFunction();
        await linux.Machine.PlugAsync(m => m.AddPciFunction("last", last, 5));
        await linux.RunAsync("until [ -e /sys/bus/pci/devices/0000:00:05.0/resource0 ]; do sleep 0.05; done; echo 0 > /sys/bus/pci/slots/5/power");
        while (!last.IsDisposed) await Task.Delay(1, linux.Token);
        Assert.Empty(Complaint.Matches(await linux.RunAsync("dmesg | grep -iE 'pci|acpi|BAR'")).Select(m => m.Value));
    }

    private static ulong Hex(Group group) => ulong.Parse(group.ValueSpan, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
