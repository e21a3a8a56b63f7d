using System.Collections.Immutable;
using Vmm.Core.Errors;

namespace Vmm.Guests;

/// <summary>No kernel or busybox could be found or fetched. Says what was tried and what to do.</summary>
/// <param name="what">What was looked for.</param>
/// <param name="probes">Each place tried, in order.</param>
/// <param name="remedy">What the user can do.</param>
/// <param name="inner">The cause, if another exception is.</param>
public sealed class GuestImageException(string what, ImmutableArray<GuestImageProbe> probes, string remedy, Exception? inner = null)
    : VmmException($"No {what} was found:{string.Concat(probes.Select(p => $"\n  - {p.Place}: {p.Reason}"))}\nWhat to do: {remedy}", inner)
{
    /// <summary>What was looked for, such as "Linux kernel".</summary>
    public string What { get; } = what;

    /// <summary>Each place tried, in order.</summary>
    public ImmutableArray<GuestImageProbe> Probes { get; } = probes;

    /// <summary>What the user can do.</summary>
    public string Remedy { get; } = remedy;
}
