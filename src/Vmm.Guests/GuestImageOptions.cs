namespace Vmm.Guests;

/// <summary>Where <see cref="GuestImages"/> looks and what it runs. The defaults suit a Debian-like host.</summary>
public sealed record GuestImageOptions
{
    /// <summary>
    /// The cache; null means environment variable VMM_CACHE, else $XDG_CACHE_HOME/vmm or ~/.cache/vmm
    /// (%LOCALAPPDATA%\vmm on Windows).
    /// </summary>
    public string? CacheDirectory { get; init; }

    /// <summary>Where the host keeps its own kernels, as vmlinuz-*; null skips them.</summary>
    public string? BootDirectory { get; init; } = "/boot";

    /// <summary>Where the host's modules are, one directory a kernel release.</summary>
    public string HostModulesDirectory { get; init; } = "/lib/modules";

    /// <summary>Busybox programs of the host to try; one that is not static and for x86-64 is passed over.</summary>
    public IReadOnlyList<string> HostBusyboxes { get; init; } = ["/bin/busybox", "/usr/bin/busybox"];

    /// <summary>Whether packages may be fetched when nothing is found on the host.</summary>
    public bool AllowDownload { get; init; } = true;

    /// <summary>The apt-get to run.</summary>
    public string AptGet { get; init; } = "apt-get";

    /// <summary>The apt-cache to run.</summary>
    public string AptCache { get; init; } = "apt-cache";

    /// <summary>The dpkg-deb to run; where there is none, packages are unpacked by .NET.</summary>
    public string DpkgDeb { get; init; } = "dpkg-deb";

    /// <summary>The kernel's package; one that only depends on a versioned linux-image package is followed.</summary>
    public string KernelPackage { get; init; } = "linux-image-cloud-amd64";

    /// <summary>Busybox's package.</summary>
    public string BusyboxPackage { get; init; } = "busybox-static";

    /// <summary>Longest that one child process may run, and that another process's fetch is waited for.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Arguments put before all others of apt-get and apt-cache.</summary>
    internal IReadOnlyList<string> AptArguments { get; init; } = [];
}
