namespace Vmm.Guests.Packages;

/// <summary>A file or symbolic link of an unpacked package.</summary>
/// <param name="Package">The package's name.</param>
/// <param name="HostPath">Where it is unpacked.</param>
/// <param name="Link">A symbolic link's target as written, or null for a file.</param>
internal readonly record struct PackagedFile(string Package, string HostPath, string? Link);
