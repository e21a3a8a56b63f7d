using Vmm.Cli.Commands;
using Vmm.Cli.Terminal;
using Vmm.Core;
using Vmm.Core.Boot;
using Vmm.Guests;
using Vmm.Guests.Kernels;

namespace Vmm.Cli.Running;

/// <summary>What a run boots, read into memory.</summary>
/// <param name="name">What it is called in messages and in the report.</param>
/// <param name="addTo">Makes a machine boot it.</param>
internal sealed class BootSource(string name, Func<VirtualMachineBuilder, VirtualMachineBuilder> addTo)
{
    private Func<VirtualMachineBuilder, VirtualMachineBuilder>? _addTo = addTo;

    public string Name => name;

    /// <summary>Makes a machine boot it, once: what was read is not held on to.</summary>
    public VirtualMachineBuilder AddTo(VirtualMachineBuilder builder) => Interlocked.Exchange(ref _addTo, null)!(builder);

    public static async Task<BootSource> LoadAsync(RunOptions options, HostStreams streams, CancellationToken cancellationToken)
    {
        if (options.Linux) return await LoadLinuxAsync(options, streams, cancellationToken).ConfigureAwait(false);
        if (options.Firmware is { } firmware)
        {
            var rom = await ReadAsync("--firmware", firmware, cancellationToken).ConfigureAwait(false);
            return new BootSource(firmware, b => b.WithFirmware(rom));
        }

        var path = options.Kernel!;
        var kernel = await ReadAsync("--kernel", path, cancellationToken).ConfigureAwait(false);
        var initrd = options.Initrd is null ? [] : await ReadAsync("--initrd", options.Initrd, cancellationToken).ConfigureAwait(false);
        var modules = new List<BootModule>();
        foreach (var module in options.Modules) modules.Add(new BootModule(module.Path, await ReadAsync("--module", module.Path, cancellationToken).ConfigureAwait(false), module.Arguments));
        return new BootSource(path, b => b.WithKernel(kernel, options.Append ?? "", initrd, modules, name: path));
    }

    private static async Task<BootSource> LoadLinuxAsync(RunOptions options, HostStreams streams, CancellationToken cancellationToken)
    {
        try
        {
            var images = new GuestImages();
            var (kernel, busybox) = await GuestSearch.RunAsync(streams, async progress => (
                await images.FindKernelAsync(options.Kernel, progress, cancellationToken).ConfigureAwait(false),
                await images.FindBusyboxAsync(options.Busybox, progress, cancellationToken).ConfigureAwait(false))).ConfigureAwait(false);
            var image = await ReadAsync("--kernel", kernel.Path, cancellationToken).ConfigureAwait(false);
            var user = LinuxShell.CreateInitramfs(busybox.Path, new LinuxShellOptions { Command = options.Command });

            // Debian's kernel has these drivers as modules.
            List<string> drivers = [];
            if (options.Disks.Length > 0) drivers.Add("virtio_blk");
            if (options.Rng) drivers.Add("virtio_rng");
            if (options.VirtioConsole) drivers.Add("virtio_console");
            if (drivers.Count > 0) user = user.AddModules(KernelModules.Open(kernel), [options.Pci ? "virtio_pci" : "virtio_mmio", .. drivers]);
            var initrd = user.Build();
            var commandLine = $"{LinuxShell.DefaultCommandLine} {(options.VirtioConsole ? "console=hvc0 " : "")}{options.Append}".TrimEnd();
            var name = kernel.Package is null ? kernel.Path : $"{kernel.Package} {kernel.PackageVersion}";
            return new BootSource(name, b => b.WithKernel(image, commandLine, initrd, name: kernel.Path));
        }
        catch (GuestImageException e)
        {
            throw new CliException(ExitCode.BadImage, [$"no {e.What} was found.", .. e.Probes.Select(p => $"  {p.Place}: {p.Reason}"), $"what to do: {e.Remedy}"]);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new CliException(ExitCode.BadImage, $"the initramfs for the shell cannot be made: {e.Message}");
        }
    }

    private static async Task<byte[]> ReadAsync(string option, string path, CancellationToken cancellationToken)
    {
        try
        {
            return await File.ReadAllBytesAsync(path, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CliException(ExitCode.BadImage, $"{option} {path}: there is no such file.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.BadImage, $"{option} {path}: {e.Message}");
        }
    }
}
