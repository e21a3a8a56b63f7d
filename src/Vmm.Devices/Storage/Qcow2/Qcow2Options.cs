namespace Vmm.Devices.Storage.Qcow2;

/// <summary>How a qcow2 image is opened.</summary>
public sealed record Qcow2Options
{
    /// <summary>Refuse changes.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>
    /// Read where the image has nothing of its own. A file that the image itself names is never opened: it is the caller who says what lies below.
    /// Disposed with the image.
    /// </summary>
    public IBlockStore? Backing { get; init; }

    /// <summary>The ID or name of an internal snapshot to read instead of the disk as it is now; makes the disk read-only.</summary>
    public string? Snapshot { get; init; }

    /// <summary>Bytes of tables that are kept in memory, at least a few tables of each kind.</summary>
    public int CacheBytes { get; init; } = 8 << 20;

    /// <summary>Bytes of tables may be wrong: the image is opened to be checked and mended.</summary>
    internal bool ForRepair { get; init; }
}
