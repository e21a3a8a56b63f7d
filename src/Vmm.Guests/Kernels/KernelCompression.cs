namespace Vmm.Guests.Kernels;

/// <summary>How the kernel inside a bzImage is packed.</summary>
public enum KernelCompression
{
    /// <summary>By nothing known here.</summary>
    Unknown,

    /// <summary>Not at all.</summary>
    None,

    /// <summary>gzip (CONFIG_KERNEL_GZIP).</summary>
    Gzip,

    /// <summary>LZ4 legacy frame (CONFIG_KERNEL_LZ4).</summary>
    Lz4,

    /// <summary>xz (CONFIG_KERNEL_XZ).</summary>
    Xz,

    /// <summary>Zstandard (CONFIG_KERNEL_ZSTD); recognised, not unpacked.</summary>
    Zstd,

    /// <summary>bzip2 (CONFIG_KERNEL_BZIP2); recognised, not unpacked.</summary>
    Bzip2,

    /// <summary>lzma alone (CONFIG_KERNEL_LZMA); recognised, not unpacked.</summary>
    Lzma,

    /// <summary>lzop (CONFIG_KERNEL_LZO); recognised, not unpacked.</summary>
    Lzo,
}
