namespace Vmm.Guests.Packages;

/// <summary>A package file just fetched.</summary>
/// <param name="Package">Its name.</param>
/// <param name="Version">Its version.</param>
/// <param name="Path">The .deb.</param>
internal readonly record struct PackageFile(string Package, string Version, string Path);
