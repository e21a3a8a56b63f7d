// Linux Documentation/filesystems/ramfs-rootfs-initramfs.rst; busybox ash, cttyhack and setsid.
using System.Text;

namespace Vmm.Guests;

/// <summary>
/// The smallest useful Linux user space: busybox and an /init that mounts proc, sysfs and devtmpfs, prints a marker, and runs
/// a shell with job control, or one command, on the kernel's console. When that ends the guest powers off.
/// </summary>
public static class LinuxShell
{
    /// <summary>The line that says user space is up.</summary>
    public const string DefaultReadyMarker = "vmm: guest ready";

    /// <summary>Starts the line that gives a command's exit status: "vmm: command exited 0".</summary>
    public const string CommandExitMarker = "vmm: command exited ";

    /// <summary>The list of kernel modules /init loads, one path with its parameters a line; see <see cref="Initramfs.AddModules"/>.</summary>
    public const string ModuleListPath = "etc/vmm-modules";

    // Modules may be added after /init is written, so the guest looks for itself. What fails, fails loudly.
    internal const string LoadModules = $"if [ -f /{ModuleListPath} ]; then while read -r m; do $b insmod $m || echo \"vmm: insmod $m failed\"; done </{ModuleListPath}; fi";

    private const string CommandPath = "etc/vmm-command";

    /// <summary>A kernel command line that suits it: a serial console, and power-off instead of waiting on a panic.</summary>
    public const string DefaultCommandLine = "console=ttyS0 reboot=t panic=-1";

    /// <summary>Builds the initramfs.</summary>
    /// <param name="busyboxPath">A static busybox; see <see cref="GuestImages.FindBusyboxAsync"/>.</param>
    /// <param name="options">What to run; null is an interactive shell.</param>
    /// <returns>The archive's bytes.</returns>
    /// <exception cref="FileNotFoundException">There is no such busybox.</exception>
    /// <exception cref="ArgumentException">An option has a NUL character, or a line break where one line is meant.</exception>
    public static byte[] BuildInitramfs(string busyboxPath, LinuxShellOptions? options = null)
    {
        options ??= new LinuxShellOptions();
        return CreateInitramfs(busyboxPath, options).Build(options.Compression);
    }

    /// <summary>As <see cref="BuildInitramfs"/>, but not built yet, so that more can be added.</summary>
    /// <param name="busyboxPath">A static busybox.</param>
    /// <param name="options">What to run; null is an interactive shell.</param>
    /// <returns>The builder.</returns>
    /// <exception cref="FileNotFoundException">There is no such busybox.</exception>
    /// <exception cref="ArgumentException">An option has a NUL character, or a line break where one line is meant.</exception>
    public static Initramfs CreateInitramfs(string busyboxPath, LinuxShellOptions? options = null)
    {
        options ??= new LinuxShellOptions();
        Initramfs initramfs = Initramfs.Create().AddBusybox(busyboxPath).WithInit(Init(options));
        if (options.Command is not null)
        {
            RefuseNul(options.Command, nameof(options.Command));
            initramfs = initramfs.AddFile(CommandPath, options.Command.ReplaceLineEndings("\n") + "\n");
        }
        return options.Customize?.Invoke(initramfs) ?? initramfs;
    }

    // Written for few forks: busybox ash runs builtins itself, redirections set what /proc can set, and exec ends the script.
    private static string Init(LinuxShellOptions options)
    {
        var init = new StringBuilder("#!/bin/busybox sh\n");
        init.Append("export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/root TERM=linux\n");
        init.Append("b=/bin/busybox\n");
        init.Append("$b mount -t proc proc /proc\n$b mount -t sysfs sysfs /sys\n$b mount -t devtmpfs devtmpfs /dev\n");
        if (options.HostName is { } host)
            init.Append($"echo {Quote(host, nameof(options.HostName))} >/proc/sys/kernel/hostname\n");
        if (options.InstallApplets)
            init.Append("$b --install -s\n");
        init.Append($"{LoadModules}\n");
        // The console that the command line prefers may have come with a module.
        init.Append("true 2>/dev/null >/dev/console && exec </dev/console >/dev/console 2>&1\n");
        init.Append("cd /root\n");
        if (options.ReadyMarker is { } marker)
            init.Append($"echo {Quote(marker, nameof(options.ReadyMarker))}\n");
        // cttyhack opens the real device behind /dev/console, which alone can be a controlling terminal.
        if (options.Command is null)
        {
            init.Append($"PS1={Quote(options.Prompt, nameof(options.Prompt))} $b setsid $b cttyhack $b sh\n");
        }
        else
        {
            init.Append($"$b setsid $b cttyhack $b sh /{CommandPath}\n");
            init.Append($"echo {Quote(CommandExitMarker, nameof(CommandExitMarker))}$?\n");
        }
        init.Append("exec $b poweroff -f\n");
        return init.ToString();
    }

    private static string Quote(string text, string option)
    {
        RefuseNul(text, option);
        if (text.AsSpan().ContainsAny('\n', '\r'))
            throw new ArgumentException($"{option} must be one line.", option);
        return "'" + text.Replace("'", @"'\''", StringComparison.Ordinal) + "'";
    }

    private static void RefuseNul(string text, string option)
    {
        if (text.Contains('\0'))
            throw new ArgumentException($"{option} has a NUL character.", option);
    }
}
