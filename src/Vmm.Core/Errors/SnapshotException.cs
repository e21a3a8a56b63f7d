namespace Vmm.Core.Errors;

/// <summary>Saved state cannot be loaded.</summary>
/// <param name="place">The unit and tag or offset at fault.</param>
/// <param name="reason">What is wrong.</param>
public sealed class SnapshotException(string place, string reason) : VmmException($"{place}: {reason}")
{
    /// <summary>The unit and tag or offset at fault.</summary>
    public string Place { get; } = place;
}
