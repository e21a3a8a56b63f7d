namespace Vmm.Guests;

/// <summary>A static x86-64 busybox for guests.</summary>
/// <param name="Path">The program.</param>
/// <param name="Source">Where it was found.</param>
public sealed record GuestBusybox(string Path, GuestImageSource Source)
{
    /// <summary>The package it came from, or null.</summary>
    public string? Package { get; init; }

    /// <summary>The package's version, or null.</summary>
    public string? PackageVersion { get; init; }

    /// <inheritdoc/>
    public override string ToString() => Package is null ? $"{Path} ({Source})" : $"{Package} {PackageVersion} at {Path} ({Source})";
}
