namespace Vmm.Guests;

/// <summary>Where a guest image was found.</summary>
public enum GuestImageSource
{
    /// <summary>The caller named the file.</summary>
    Explicit,

    /// <summary>In the cache, from an earlier fetch or put there by hand.</summary>
    Cache,

    /// <summary>Among the host's own files (/boot, /bin).</summary>
    Host,

    /// <summary>Just fetched from the distribution's package archive.</summary>
    Package,
}
