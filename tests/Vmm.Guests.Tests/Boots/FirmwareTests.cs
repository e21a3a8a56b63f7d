using System.IO.Pipelines;
using Vmm.Backends.Kvm;
using Vmm.Backends.Software;
using Vmm.Core;
using Vmm.Core.Backends;
using Vmm.Core.Boot;
using Vmm.Devices.Boards;
using Vmm.Devices.Serial;

namespace Vmm.Guests.Tests.Boots;

/// <summary>Firmware of others, from Debian's packages, at the reset vector of the board "pc".</summary>
[Collection("boots")]
public class FirmwareTests
{
    [Theory]
    [InlineData("software", "bios.bin")]
    [InlineData("software", "bios-256k.bin")]
    [InlineData("kvm", "bios.bin")]
    [InlineData("kvm", "bios-256k.bin")]
    public async Task SeaBios_FindsNothingToBoot(string backend, string image)
    {
        var log = await RunAsync(backend, await FileAsync("seabios", $"usr/share/seabios/{image}"), "No bootable device", debugPort: true);

        Assert.Matches(@"^SeaBIOS \(version [\d.]+", log);
        Assert.DoesNotContain("panic", log, StringComparison.OrdinalIgnoreCase);
    }

    [Theory]
    [InlineData("software")]
    [InlineData("kvm")]
    public async Task UBoot_SaysItsBanner(string backend)
    {
        var log = await RunAsync(backend, await FileAsync("u-boot-qemu", "usr/lib/u-boot/qemu-x86/u-boot.rom"), "DRAM:", debugPort: false);

        Assert.Matches(@"U-Boot 20\d\d\.\d\d", log);
    }

    private static async Task<byte[]> FileAsync(string package, string path)
    {
        var files = (await RealGuests.PackagesAsync(package)).Files;
        return await File.ReadAllBytesAsync(files[path].HostPath, TestContext.Current.CancellationToken);
    }

    private static async Task<string> RunAsync(string backend, byte[] image, string awaited, bool debugPort)
    {
        using var patience = new CancellationTokenSource(BootedLinux.Patience);
        var console = new ConsolePipe();
        var options = debugPort ? new PcOptions { DebugOutput = ((IDuplexPipe)console).Output } : new PcOptions { Console = console };
        await using var machine = new VirtualMachineBuilder().WithBackend(Backend(backend)).WithBoard(() => new PcBoard(options)).WithMemory(128 << 20).WithFirmware(image).Build();
        await machine.StartAsync();
        var said = console.WaitForAsync(awaited, patience.Token);
        if (await Task.WhenAny(said, machine.Completion) != said) Assert.Fail($"The machine ended before it said '{awaited}': {await machine.Completion}\n{console.Text}");
        try
        {
            await said;
        }
        catch (OperationCanceledException)
        {
            Assert.Fail($"The firmware did not say '{awaited}', but:\n{console.Text}");
        }

        return console.Text;
    }

    private static IHypervisor Backend(string name)
    {
        if (name == "software") return new SoftwareHypervisor();
        var kvm = new KvmHypervisor();
        if (kvm.Probe() is { IsUsable: false } probe)
        {
            Assert.False((Environment.GetEnvironmentVariable("VMM_REQUIRE") ?? "").Split(',').Contains("kvm"), probe.Detail);
            Assert.Skip($"no KVM: {probe.Detail} To mend it: {probe.Fix}");
        }

        return kvm;
    }
}
