using Vmm.Backends.Software;
using Vmm.Core;
using Vmm.Core.Boot;
using Vmm.Devices.Boards;
using Vmm.Devices.Serial;
using Vmm.Guests.Kernels;

namespace Vmm.Guests.Tests.Boots;

/// <summary>The Debian cloud kernel on the software CPU, with a console to talk to.</summary>
public sealed class BootedLinux : IAsyncDisposable
{
    /// <summary>A boot takes some seconds; this only keeps a hang from lasting for ever.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private readonly CancellationTokenSource _patience = new(Patience);

    private BootedLinux(VirtualMachine machine, ConsolePipe console) => (Machine, Console) = (machine, console);

    public VirtualMachine Machine { get; }

    public ConsolePipe Console { get; }

    public CancellationToken Token => _patience.Token;

    public static async Task<BootedLinux> StartAsync(Func<VirtualMachineBuilder, VirtualMachineBuilder>? configure = null, KernelForm form = KernelForm.BzImage, string? command = null, bool pc = false,
        string[]? modules = null, string[]? packages = null, Func<Initramfs, Initramfs>? customize = null, bool pci = false, CpuEngine engine = CpuEngine.Auto)
    {
        var kernel = await RealGuests.KernelAsync();
        var busybox = await RealGuests.BusyboxAsync();
        var user = LinuxShell.CreateInitramfs(busybox.Path, new LinuxShellOptions { Command = command, Customize = customize });
        if (modules is not null) user = user.AddModules(KernelModules.Open(kernel), modules);
        if (packages is not null) user = user.AddPackages(await RealGuests.PackagesAsync(packages));
        var initramfs = user.Build();
        var image = await File.ReadAllBytesAsync(kernel.Path);
        if (form != KernelForm.BzImage) image = Vmm.Guests.Kernels.VmlinuxExtractor.Extract(image);
        var console = new ConsolePipe();
        var builder = new VirtualMachineBuilder()
            .WithBackend(new SoftwareHypervisor { Engine = engine })
            .WithBoard(() => pc ? new PcBoard(new PcOptions { Console = console }) : new MicroVmBoard(new MicroVmOptions { Console = console, Pci = pci }));
        builder = form == KernelForm.Pvh ? builder.WithPvh(image, LinuxShell.DefaultCommandLine, initramfs) : builder.WithLinux(image, LinuxShell.DefaultCommandLine, initramfs);
        var machine = (configure?.Invoke(builder) ?? builder).Build();
        await machine.StartAsync();
        return new BootedLinux(machine, console);
    }

    /// <summary>Waits for the shell.</summary>
    public async Task ReadyAsync() => await WaitForAsync(LinuxShell.DefaultReadyMarker);

    public async Task<string> WaitForAsync(string text)
    {
        try
        {
            return await Console.WaitForAsync(text, Token);
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"The guest did not say '{text}'. Its last words:\n{Tail()}");
        }
    }

    /// <summary>Runs a command in the shell and gives what it printed.</summary>
    public async Task<string> RunAsync(string command)
    {
        // The echo of the typed line has the quotes in it, so only the command's own output matches.
        await Console.WriteLineAsync($"{command}; echo en''d$?", Token);
        var output = await WaitForAsync("end0");
        return output;
    }

    /// <summary>Waits for the guest to end by itself.</summary>
    public async Task<MachineExit> EndAsync()
    {
        await Task.WhenAny(Machine.Completion, Task.Delay(Timeout.InfiniteTimeSpan, Token));
        return Machine.Completion.IsCompleted ? await Machine.Completion : throw new TimeoutException($"The guest did not end. Its last words:\n{Tail()}");
    }

    public async ValueTask DisposeAsync()
    {
        await Machine.DisposeAsync();
        _patience.Dispose();
    }

    private string Tail()
    {
        var text = Console.Text;
        return text.Length > 3000 ? text[^3000..] : text;
    }
}
