namespace Vmm.Devices.Storage.Qcow2;

/// <summary>What a new qcow2 image is like.</summary>
public sealed record Qcow2CreateOptions
{
    /// <summary>2 or 3 (compat=0.10 or compat=1.1 of qemu-img).</summary>
    public int Version { get; init; } = 3;

    /// <summary>Bytes of a cluster: a power of two from 512 to 2 MiB.</summary>
    public int ClusterSize { get; init; } = 1 << 16;

    /// <summary>Bits of a reference count: a power of two from 1 to 64; 16 in version 2.</summary>
    public int RefcountBits { get; init; } = 16;

    /// <summary>Write reference counts late, and mark the image dirty until it is closed. After a crash they are counted anew when it is opened. Version 3.</summary>
    public bool LazyRefcounts { get; init; }

    /// <summary>Allocate clusters in 32 parts each; cluster size 16 KiB or more. Version 3.</summary>
    public bool ExtendedL2 { get; init; }

    /// <summary>How clusters will be compressed.</summary>
    public Qcow2Compression Compression { get; init; }

    /// <summary>A name to record for the backing file; it is not opened.</summary>
    public string? BackingFile { get; init; }

    /// <summary>The backing file's format to record: "raw" or "qcow2".</summary>
    public string? BackingFormat { get; init; }

    internal void Check(long length)
    {
        List<string> problems = [];
        if (Version is not (2 or 3)) problems.Add($"version {Version}: choose 2 or 3");
        if (ClusterSize is < 512 or > 1 << 21 || !int.IsPow2(ClusterSize)) problems.Add($"cluster size {ClusterSize}: choose a power of two from 512 to 2 MiB");
        if (RefcountBits is < 1 or > 64 || !int.IsPow2(RefcountBits) || (Version == 2 && RefcountBits != 16)) problems.Add($"refcount bits {RefcountBits}: choose a power of two from 1 to 64, 16 in version 2");
        if (Version == 2 && (LazyRefcounts || ExtendedL2 || Compression != Qcow2Compression.Zlib)) problems.Add("lazy refcounts, extended L2 entries and zstd need version 3");
        if (ExtendedL2 && ClusterSize < 1 << 14) problems.Add("extended L2 entries need clusters of 16 KiB or more");
        if (BackingFile is { Length: > Qcow2Spec.MaximumBackingName }) problems.Add($"the backing file's name has more than {Qcow2Spec.MaximumBackingName} bytes");
        if (BackingFile is not null && BackingFormat is not ("raw" or "qcow2")) problems.Add("a backing file needs its format: raw or qcow2");
        if (length % 512 != 0) problems.Add($"{length} bytes are no multiple of 512");
        if (problems.Count == 0 && length > Qcow2Spec.MaximumLength(ClusterSize, ExtendedL2)) problems.Add($"{length} bytes are too many for clusters of {ClusterSize} bytes: choose larger ones");
        if (problems.Count > 0) throw new ArgumentException($"The image cannot be made so: {string.Join("; ", problems)}.");
    }
}
