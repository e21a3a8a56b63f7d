namespace Vmm.Guests;

/// <summary>What <see cref="LinuxShell"/> puts into /init.</summary>
public sealed record LinuxShellOptions
{
    /// <summary>A line printed when user space is up, before the shell or command starts; null prints none.</summary>
    public string? ReadyMarker { get; init; } = LinuxShell.DefaultReadyMarker;

    /// <summary>A shell script to run instead of an interactive shell; the guest powers off when it ends.</summary>
    public string? Command { get; init; }

    /// <summary>The interactive shell's prompt; <c>\w</c> is the working directory.</summary>
    public string Prompt { get; init; } = @"vmm:\w# ";

    /// <summary>The guest's host name; null leaves the kernel's.</summary>
    public string? HostName { get; init; } = "vmm";

    /// <summary>
    /// Whether each busybox applet becomes a command of its own. The shell finds them without; other programs may not.
    /// </summary>
    public bool InstallApplets { get; init; } = true;

    /// <summary>More files for the guest, or other ones in place of the shell's.</summary>
    public Func<Initramfs, Initramfs>? Customize { get; init; }

    /// <summary>Whether the archive is compressed.</summary>
    public InitramfsCompression Compression { get; init; }
}
