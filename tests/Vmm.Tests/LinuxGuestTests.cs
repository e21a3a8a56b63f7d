using Vmm.Core;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;
using Vmm.Guests;

namespace Vmm.Tests;

public sealed class LinuxGuestTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-linux-guest-").FullName;

    [Fact]
    public async Task Run_RealKernel_GivesOutputAndExitCode()
    {
        await HaveGuestsAsync();
        var result = await LinuxGuest.RunAsync("echo out\necho err >&2\nuname -s\n(exit 3)", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(new LinuxCommandResult("out\nerr\nLinux\n", 3), result);
    }

    [Fact]
    public async Task Start_RealKernel_TalksAndIsConfigured()
    {
        await HaveGuestsAsync();
        await using var guest = await LinuxGuest.StartAsync(new LinuxGuestOptions { ExtraCommandLine = "quiet vmm.test=1", Configure = b => b.WithMemory(128 << 20) }, cancellationToken: TestContext.Current.CancellationToken);
        await guest.Console.WaitForAsync("# ", TestContext.Current.CancellationToken);
        await guest.Console.WriteLineAsync("cat /proc/cmdline; exit", TestContext.Current.CancellationToken);
        await guest.Console.WaitForAsync("quiet vmm.test=1\r\n", TestContext.Current.CancellationToken);
        Assert.Equal(MachineExitKind.PoweredOff, (await guest.Machine.Completion).Kind);
        Assert.Equal(128UL << 20, guest.Machine.Memory.RamSize);
    }

    [Fact]
    public async Task Start_KernelDiesAtOnce_IsToldWithItsLastWords()
    {
        // mov dx, 0x3F8; mov al, '?'; out dx, al; ud2: no interrupt table, so a triple fault
        var options = Options(0x66, 0xBA, 0xF8, 0x03, 0xB0, (byte)'?', 0xEE, 0x0F, 0x0B);
        var error = await Assert.ThrowsAsync<EndOfStreamException>(() => LinuxGuest.StartAsync(options, cancellationToken: TestContext.Current.CancellationToken));
        Assert.EndsWith("?", error.Message);
        error = await Assert.ThrowsAsync<EndOfStreamException>(() => LinuxGuest.RunAsync("true", options, cancellationToken: TestContext.Current.CancellationToken));
        Assert.EndsWith("?", error.Message);
    }

    [Fact]
    public async Task Start_CancelledWhileBooting_DisposesTheMachine()
    {
        using var cancelled = new CancellationTokenSource();
        var device = new Witness(cancelled);

        // mov dx, 0x5000; out dx, al; jmp $
        var options = Options(0x66, 0xBA, 0x00, 0x50, 0xEE, 0xEB, 0xFE) with { Configure = b => b.AddDevice("witness", _ => device, port: 0x5000, count: 1) };
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => LinuxGuest.StartAsync(options, cancellationToken: cancelled.Token));
        Assert.True(device.IsDisposed);
    }

    [Fact]
    public async Task Start_NoKernel_IsToldWithARemedy()
    {
        var options = new LinuxGuestOptions { KernelPath = Path.Combine(_directory, "nowhere") };
        var error = await Assert.ThrowsAsync<GuestImageException>(() => LinuxGuest.StartAsync(options, cancellationToken: TestContext.Current.CancellationToken));
        Assert.Contains("nowhere", error.Message);
        Assert.NotEmpty(error.Remedy);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private LinuxGuestOptions Options(params byte[] code)
    {
        string kernel = Path.Combine(_directory, "kernel"), busybox = Path.Combine(_directory, "busybox");
        File.WriteAllBytes(kernel, TinyElf.Make(code));
        File.WriteAllBytes(busybox, TinyElf.Make(0xF4));
        return new LinuxGuestOptions { KernelPath = kernel, BusyboxPath = busybox };
    }

    private static async Task HaveGuestsAsync()
    {
        try
        {
            var images = new GuestImages();
            await images.FindKernelAsync();
            await images.FindBusyboxAsync();
        }
        catch (GuestImageException e)
        {
            Assert.Skip(e.Message);
        }
    }

    /// <summary>A port that cancels when the guest writes to it.</summary>
    private sealed class Witness(CancellationTokenSource cancelled) : IDevice, IIoHandler, IDisposable
    {
        public bool IsDisposed { get; private set; }

        public void Reset() { }

        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value) => ThreadPool.QueueUserWorkItem(_ => cancelled.Cancel());

        public void VisitState(StateVisitor visitor) { }

        public void Dispose() => IsDisposed = true;
    }
}
