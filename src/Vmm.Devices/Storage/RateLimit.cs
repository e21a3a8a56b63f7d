namespace Vmm.Devices.Storage;

/// <summary>How fast requests may go, by bytes and by number; a null sets no limit.</summary>
public readonly record struct RateLimit
{
    // What may pass at once where nothing else is said: the work of a tenth of a second, as in QEMU.
    private const double DefaultBurst = 0.1;

    /// <summary>No limit.</summary>
    public static RateLimit None => default;

    /// <summary>Bytes read and written a second, above 0.</summary>
    public long? BytesPerSecond { get; init; }

    /// <summary>Requests a second, above 0.</summary>
    public long? OperationsPerSecond { get; init; }

    /// <summary>Bytes that may pass at once after a rest; null for a tenth of a second's.</summary>
    public long? BurstBytes { get; init; }

    /// <summary>Requests that may pass at once after a rest; null for a tenth of a second's.</summary>
    public long? BurstOperations { get; init; }

    internal double ByteBucket => BurstBytes ?? Math.Max(1, BytesPerSecond.GetValueOrDefault() * DefaultBurst);

    internal double OperationBucket => BurstOperations ?? Math.Max(1, OperationsPerSecond.GetValueOrDefault() * DefaultBurst);

    internal void Check()
    {
        if (BytesPerSecond <= 0 || OperationsPerSecond <= 0 || BurstBytes <= 0 || BurstOperations <= 0) throw new ArgumentException("Rates and bursts are above 0; leave out what sets no limit.");
    }
}
