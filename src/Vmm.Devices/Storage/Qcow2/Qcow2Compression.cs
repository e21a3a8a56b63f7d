namespace Vmm.Devices.Storage.Qcow2;

/// <summary>How compressed clusters of a qcow2 image are packed (header field compression_type).</summary>
public enum Qcow2Compression
{
    /// <summary>Raw deflate data.</summary>
    Zlib = 0,

    /// <summary>A Zstandard frame.</summary>
    Zstd = 1,
}
