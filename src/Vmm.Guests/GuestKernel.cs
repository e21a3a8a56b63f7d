namespace Vmm.Guests;

/// <summary>A Linux kernel for guests.</summary>
/// <param name="Path">The bzImage or ELF vmlinux.</param>
/// <param name="Source">Where it was found.</param>
public sealed record GuestKernel(string Path, GuestImageSource Source)
{
    /// <summary>The package it came from, or null.</summary>
    public string? Package { get; init; }

    /// <summary>The package's version, or null.</summary>
    public string? PackageVersion { get; init; }

    /// <summary>The directory of its loadable modules (…/lib/modules/RELEASE), or null where none is known.</summary>
    public string? ModulesDirectory { get; init; }

    /// <inheritdoc/>
    public override string ToString() => Package is null ? $"{Path} ({Source})" : $"{Package} {PackageVersion} at {Path} ({Source})";
}
