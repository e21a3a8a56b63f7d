using System.Collections.Immutable;

namespace Vmm.Guests.Kernels;

/// <summary>One loadable module of a kernel.</summary>
/// <param name="Name">Its name as <c>lsmod</c> shows it, with underscores.</param>
/// <param name="Path">The host's file, .ko, perhaps packed as .ko.xz or .ko.gz.</param>
/// <param name="GuestPath">Where it goes in the guest: lib/modules/RELEASE/…/NAME.ko.</param>
/// <param name="Dependencies">Modules that must be loaded before it (its .modinfo's "depends" and "softdep pre"), as names.</param>
public sealed record KernelModule(string Name, string Path, string GuestPath, ImmutableArray<string> Dependencies);
