namespace Vmm.Devices.Storage.Qcow2;

/// <summary>An internal snapshot of a qcow2 image.</summary>
/// <param name="Id">Its ID, unique within the image.</param>
/// <param name="Name">Its name.</param>
/// <param name="Size">The disk's size in bytes when it was taken.</param>
/// <param name="Taken">When it was taken.</param>
/// <param name="StateSize">Bytes of machine state saved with it.</param>
public sealed record Qcow2Snapshot(string Id, string Name, long Size, DateTimeOffset Taken, long StateSize)
{
    internal long L1TableOffset { get; init; }

    internal int L1Size { get; init; }
}
