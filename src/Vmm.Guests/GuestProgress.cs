namespace Vmm.Guests;

/// <summary>One report of the search for a guest image.</summary>
/// <param name="Stage">What is being done.</param>
/// <param name="What">To which file or package.</param>
/// <param name="Bytes">Bytes done, 0 where that is not counted.</param>
/// <param name="TotalBytes">Bytes to do, or null where that is not known.</param>
public readonly record struct GuestProgress(GuestProgressStage Stage, string What, long Bytes = 0, long? TotalBytes = null)
{
    /// <inheritdoc/>
    public override string ToString() => TotalBytes is { } total
        ? $"{Stage.ToString().ToLowerInvariant()} {What}: {Bytes / 1e6:f1} of {total / 1e6:f1} MB"
        : $"{Stage.ToString().ToLowerInvariant()} {What}";
}
