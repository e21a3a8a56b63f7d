using Vmm.Core;
using Vmm.Devices.Serial;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Console;
using Vmm.Devices.Virtio.Rng;
using Vmm.Guests;

namespace Vmm.Guests.Tests.Boots;

/// <summary>Virtio devices with Linux's own drivers, on both transports and both ring layouts.</summary>
[Collection("boots")]
public class VirtioLinuxTests
{
    /// <summary>Prints what the kernel has to say against virtio, PCI and interrupts; nothing, if all is well.</summary>
    private const string Complaints = "dmesg | grep -v 'report a bug' | grep -iE '(virtio|pci|irq|hwrng|console).*(error|fail|bug|unable|nobody|timed out|broken|not a head|id .* is not)' | sed 's/^/COMPLAINT /'";

    public static TheoryData<VirtioTransportKind, bool, int> Cases => new()
    {
        { VirtioTransportKind.Mmio, false, 1 },
        { VirtioTransportKind.Mmio, true, 2 },
        { VirtioTransportKind.Pci, true, 1 },
        { VirtioTransportKind.Pci, false, 2 },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Rng_WithLinux_GivesTheHostsBytes(VirtioTransportKind transport, bool packed, int vcpus)
    {
        await using var linux = await BootedLinux.StartAsync(
            b => b.WithVcpus(vcpus).AddVirtioRng(static bytes => bytes.Fill(0xA5), new VirtioOptions { Transport = transport, Packed = packed }),
            pc: transport == VirtioTransportKind.Pci, modules: ["virtio_mmio", "virtio_pci", "virtio_rng"],
            command: "cat /sys/class/misc/hw_random/rng_current; echo packed=$(cut -c35 /sys/bus/virtio/devices/virtio0/features); dd if=/dev/hwrng bs=1000 count=50 iflag=fullblock 2>/dev/null | tr -d '\\245' | wc -c; dd if=/dev/hwrng bs=1000 count=50 iflag=fullblock 2>/dev/null | wc -c; grep -c virtio /proc/interrupts; " + Complaints);
        Assert.Equal(MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);

        Assert.Matches(@"virtio_rng\.0\r?\n", linux.Console.Text);
        Assert.Matches($@"packed={(packed ? 1 : 0)}\r?\n0\r?\n50000\r?\n[1-9]", linux.Console.Text);
        Assert.DoesNotContain("COMPLAINT", linux.Console.Text, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Console_WithLinux_HasItsPortsAndSize(VirtioTransportKind transport, bool packed, int vcpus)
    {
        var (terminal, agent) = (new ConsolePipe(), new ConsolePipe());
        await using var linux = await BootedLinux.StartAsync(
            b => b.WithVcpus(vcpus).AddVirtioConsole([new VirtioConsolePort("terminal", terminal, IsConsole: true), new VirtioConsolePort("agent.0", agent)], new VirtioOptions { Transport = transport, Packed = packed },
                static console => console.SetWindowSize(132, 43)),
            pc: transport == VirtioTransportKind.Pci, modules: ["virtio_mmio", "virtio_pci", "virtio_console"],
            command: "until [ -c /dev/vport0p1 ] && [ -c /dev/hvc0 ]; do sleep 0.05; done; echo name=$(cat /sys/class/virtio-ports/vport0p1/name); exec 3<>/dev/vport0p1; read line <&3; echo got=$line; echo answer $line >&3; "
                + "until stty size </dev/hvc0 | grep -q 43; do sleep 0.05; done; echo size=$(stty size </dev/hvc0); echo shown >/dev/hvc0; head -c 300000 /dev/zero | tr '\\0' x >&3; read line <&3; echo done=$line; " + Complaints);
        await agent.WriteLineAsync("question", linux.Token);
        await agent.WaitForAsync("answer question", linux.Token);
        await terminal.WaitForAsync("shown", linux.Token);
        await agent.WaitForAsync(new string('x', 300_000), linux.Token);
        await agent.WriteLineAsync("enough", linux.Token);
        Assert.Equal(MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);
        Assert.True(System.Text.RegularExpressions.Regex.IsMatch(linux.Console.Text, @"name=agent\.0\r?\ngot=question\r?\nsize=43 132\r?\ndone=enough"), linux.Console.Text[^600..]);
        Assert.DoesNotContain("COMPLAINT", linux.Console.Text, StringComparison.Ordinal);
    }
}
