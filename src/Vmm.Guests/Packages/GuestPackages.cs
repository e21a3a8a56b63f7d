using System.Collections.Immutable;

namespace Vmm.Guests.Packages;

/// <summary>
/// Files of Debian packages for a guest: all of the packages asked for (but documentation and translations), and of the packages they depend on the
/// shared libraries their programs need. From <see cref="GuestImages.FindPackagesAsync"/>; for <see cref="Initramfs.AddPackages"/>. Immutable.
/// </summary>
public sealed class GuestPackages
{
    internal GuestPackages(ImmutableArray<string> names, ImmutableSortedDictionary<string, PackagedFile> files) => (Names, Files) = (names, files);

    /// <summary>The packages that files came from, as NAME_VERSION, in the order they were found.</summary>
    public ImmutableArray<string> Names { get; }

    /// <summary>Paths in the guest, without a leading "/", sorted.</summary>
    public IEnumerable<string> Paths => Files.Keys;

    internal ImmutableSortedDictionary<string, PackagedFile> Files { get; }
}
