using System.Collections.Immutable;
using Vmm.Core;
using Vmm.Guests;

namespace Vmm;

/// <summary>What a <see cref="LinuxGuest"/> is made of. The defaults need nothing but a Debian-like host, or a filled cache.</summary>
public sealed record LinuxGuestOptions
{
    /// <summary>A bzImage or ELF vmlinux; null finds one, as <see cref="GuestImages.FindKernelAsync"/> does.</summary>
    public string? KernelPath { get; init; }

    /// <summary>A static x86-64 busybox; null finds one, as <see cref="GuestImages.FindBusyboxAsync"/> does.</summary>
    public string? BusyboxPath { get; init; }

    /// <summary>What follows <see cref="LinuxShell.DefaultCommandLine"/> on the kernel's command line.</summary>
    public string ExtraCommandLine { get; init; } = "";

    /// <summary>The user space: its files and its prompt.</summary>
    public LinuxShellOptions Shell { get; init; } = new();

    /// <summary>Where kernel and busybox are looked for.</summary>
    public GuestImageOptions Images { get; init; } = new();

    /// <summary>
    /// Changes the machine before it is built: more memory, more vCPUs, another backend, devices. Leave its board alone: the guest's console is in it.
    /// </summary>
    public Func<VirtualMachineBuilder, VirtualMachineBuilder>? Configure { get; init; }

    /// <summary>Kernel modules to load, each perhaps followed by parameters; see <see cref="Initramfs.AddModules"/> for what they may be.</summary>
    public ImmutableArray<string> Modules { get; init; } = [];

    /// <summary>Debian packages whose programs the guest gets; see <see cref="GuestImages.FindPackagesAsync"/>.</summary>
    public ImmutableArray<string> Packages { get; init; } = [];

    /// <summary>Adds kernel modules, loaded with those they depend on before the guest is ready; built-in ones load nothing.</summary>
    /// <param name="names">Module names, each perhaps followed by parameters: "loop max_loop=4".</param>
    /// <returns>New options.</returns>
    public LinuxGuestOptions WithModules(params IEnumerable<string> names) => this with { Modules = [.. Modules, .. names] };

    /// <summary>Adds Debian packages, with the shared libraries their programs need. Give the guest memory for them, twice their size.</summary>
    /// <param name="names">Package names, such as "fio".</param>
    /// <returns>New options.</returns>
    public LinuxGuestOptions WithPackages(params IEnumerable<string> names) => this with { Packages = [.. Packages, .. names] };

    /// <summary>Adds a file of the host.</summary>
    /// <param name="guestPath">Its name in the guest.</param>
    /// <param name="hostFile">The file on the host; read when the guest is built.</param>
    /// <returns>New options.</returns>
    public LinuxGuestOptions WithFile(string guestPath, string hostFile)
    {
        Func<Initramfs, Initramfs>? before = Shell.Customize;
        return this with { Shell = Shell with { Customize = i => (before?.Invoke(i) ?? i).AddFileFrom(guestPath, hostFile) } };
    }
}
