using System.Globalization;
using System.Text.RegularExpressions;
using Vmm.Core;
using Vmm.Core.Boot;
using Vmm.Core.Errors;
using Vmm.Devices.Serial;
using Vmm.Guests;
using Vmm.Guests.Kernels;

namespace Vmm;

/// <summary>
/// A small Linux in a machine of its own: a stock kernel with a busybox shell on its console. Kernel and busybox are found on the
/// host or fetched into the user's cache; nothing is installed. For what this does not offer, use <see cref="Machine"/> and
/// <see cref="Console"/>, or put the parts together as this does.
/// </summary>
public sealed partial class LinuxGuest : IAsyncDisposable
{
    private LinuxGuest(VirtualMachine machine, ConsolePipe console) => (Machine, Console) = (machine, console);

    /// <summary>The machine.</summary>
    public VirtualMachine Machine { get; }

    /// <summary>The guest's serial console, on which the shell runs.</summary>
    public ConsolePipe Console { get; }

    /// <summary>Boots a guest and returns when its user space is up; its shell is about to show its prompt.</summary>
    /// <param name="options">What it is made of; null is the defaults.</param>
    /// <param name="progress">Told of the search for kernel and busybox, from any thread.</param>
    /// <param name="cancellationToken">Stops the boot; nothing stays behind.</param>
    /// <exception cref="GuestImageException">No kernel or busybox was found; says what to do.</exception>
    /// <exception cref="VmmConfigurationException">The machine cannot be built so.</exception>
    /// <exception cref="EndOfStreamException">The guest ended before it was up; the message has its last words.</exception>
    public static async Task<LinuxGuest> StartAsync(LinuxGuestOptions? options = null, IProgress<GuestProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        options ??= new LinuxGuestOptions();
        var guest = await BuildAsync(options, options.Shell, progress, cancellationToken).ConfigureAwait(false);
        try
        {
            await guest.Machine.StartAsync(cancellationToken).ConfigureAwait(false);
            if (options.Shell.ReadyMarker is { } marker) await guest.ReadUntilAsync(marker, cancellationToken).ConfigureAwait(false);
            return guest;
        }
        catch
        {
            await guest.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Boots a guest, runs a shell script in it, and powers it off.</summary>
    /// <param name="command">The script.</param>
    /// <param name="options">What the guest is made of; null is the defaults.</param>
    /// <param name="progress">Told of the search for kernel and busybox, from any thread.</param>
    /// <param name="cancellationToken">Kills the guest.</param>
    /// <exception cref="GuestImageException">No kernel or busybox was found; says what to do.</exception>
    /// <exception cref="VmmConfigurationException">The machine cannot be built so.</exception>
    /// <exception cref="EndOfStreamException">The guest ended without saying how the script did; the message has its last words.</exception>
    public static async Task<LinuxCommandResult> RunAsync(string command, LinuxGuestOptions? options = null, IProgress<GuestProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(command);
        options ??= new LinuxGuestOptions();
        var shell = options.Shell with { Command = command, ReadyMarker = options.Shell.ReadyMarker ?? LinuxShell.DefaultReadyMarker };
        var guest = await BuildAsync(options, shell, progress, cancellationToken).ConfigureAwait(false);
        await using (guest.ConfigureAwait(false))
        {
            await guest.Machine.StartAsync(cancellationToken).ConfigureAwait(false);
            await guest.ReadUntilAsync(shell.ReadyMarker + "\r\n", cancellationToken).ConfigureAwait(false);
            var output = await guest.ReadUntilAsync(LinuxShell.CommandExitMarker, cancellationToken).ConfigureAwait(false);
            var status = await guest.WhileAliveAsync(guest.Console.WaitForAsync(ExitStatus(), cancellationToken)).ConfigureAwait(false);
            return new LinuxCommandResult(output[..^LinuxShell.CommandExitMarker.Length].ReplaceLineEndings("\n"), int.Parse(status.Groups[1].ValueSpan, CultureInfo.InvariantCulture));
        }
    }

    /// <summary>Kills the guest, unless it has ended, and frees everything.</summary>
    public ValueTask DisposeAsync() => Machine.DisposeAsync();

    private static async Task<LinuxGuest> BuildAsync(LinuxGuestOptions options, LinuxShellOptions shell, IProgress<GuestProgress>? progress, CancellationToken cancellationToken)
    {
        var images = new GuestImages(options.Images);
        var kernel = await images.FindKernelAsync(options.KernelPath, progress, cancellationToken).ConfigureAwait(false);
        var busybox = await images.FindBusyboxAsync(options.BusyboxPath, progress, cancellationToken).ConfigureAwait(false);
        var image = await File.ReadAllBytesAsync(kernel.Path, cancellationToken).ConfigureAwait(false);
        var initramfs = LinuxShell.CreateInitramfs(busybox.Path, shell);
        if (!options.Modules.IsDefaultOrEmpty) initramfs = initramfs.AddModules(KernelModules.Open(kernel), options.Modules);
        if (!options.Packages.IsDefaultOrEmpty) initramfs = initramfs.AddPackages(await images.FindPackagesAsync(options.Packages, progress, cancellationToken).ConfigureAwait(false));
        var console = new ConsolePipe();
        var builder = VmmHost.CreateBuilder(console)
            .WithName("linux")
            .WithKernel(image, $"{LinuxShell.DefaultCommandLine} {options.ExtraCommandLine}".TrimEnd(), initramfs.Build(shell.Compression), name: kernel.Path);
        return new LinuxGuest((options.Configure?.Invoke(builder) ?? builder).Build(), console);
    }

    private Task<string> ReadUntilAsync(string text, CancellationToken cancellationToken) => WhileAliveAsync(Console.WaitForAsync(text, cancellationToken));

    // A machine that has ended says nothing more; disposing it closes the console, which ends the wait with what was said last.
    private async Task<T> WhileAliveAsync<T>(Task<T> said)
    {
        if (await Task.WhenAny(said, Machine.Completion).ConfigureAwait(false) != said) await Machine.DisposeAsync().ConfigureAwait(false);
        return await said.ConfigureAwait(false);
    }

    [GeneratedRegex(@"\A(\d{1,3})\r?\n")]
    private static partial Regex ExitStatus();
}
