namespace Vmm.Devices.Storage;

/// <summary>How a disk image is opened.</summary>
public sealed record DiskOptions
{
    /// <summary>Refuse changes. VHDX and VMDK are read-only anyway.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Past the host's page cache; raw images only.</summary>
    public bool Direct { get; init; }

    /// <summary>
    /// A folder whose images a qcow2 image may lie over. A backing file that it names is opened, read-only, if it lies there and its format is recorded as raw
    /// or qcow2. Null, the default, refuses every backing file.
    /// </summary>
    public string? BackingFolder { get; init; }

    /// <summary>The ID or name of an internal snapshot to read; qcow2 only.</summary>
    public string? Snapshot { get; init; }
}
