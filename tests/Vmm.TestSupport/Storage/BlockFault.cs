namespace Vmm.TestSupport.Storage;

/// <summary>What becomes of a request.</summary>
public sealed record BlockFault
{
    /// <summary>The request waits for this first.</summary>
    public Task? After { get; init; }

    /// <summary>Then it fails with this.</summary>
    public Exception? Error { get; init; }

    /// <summary>Of a write that fails, so many bytes are written all the same.</summary>
    public int Torn { get; init; }
}
