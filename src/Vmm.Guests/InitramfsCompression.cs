namespace Vmm.Guests;

/// <summary>How an initramfs is compressed.</summary>
public enum InitramfsCompression
{
    /// <summary>Not at all: any kernel takes it, and a slow guest CPU has the least to do.</summary>
    None,

    /// <summary>gzip (RFC 1952): any kernel with CONFIG_RD_GZIP.</summary>
    Gzip,
}
