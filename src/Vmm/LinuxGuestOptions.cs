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
}
