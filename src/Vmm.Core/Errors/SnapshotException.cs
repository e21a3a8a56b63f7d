namespace Vmm.Core.Errors;

/// <summary>Saved state cannot be loaded.</summary>
/// <param name="place">The unit and tag or offset at fault.</param>
/// <param name="reason">What is wrong.</param>
/// <param name="inner">The cause, if another exception is.</param>
public sealed class SnapshotException(string place, string reason, Exception? inner = null) : VmmException($"{place}: {reason}", inner)
{
    /// <summary>The unit and tag or offset at fault.</summary>
    public string Place { get; } = place;
}
