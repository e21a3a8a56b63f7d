// QEMU docs/interop/qcow2.txt, "Compressed Clusters Descriptor".
using System.Buffers;

namespace Vmm.Devices.Storage.Qcow2;

public sealed partial class Qcow2Store
{
    private readonly SemaphoreSlim _packing = new(1);

    // Where the last compressed cluster ended: the next one goes on from there.
    private long _packedEnd;

    /// <summary>Writes a whole cluster that has nothing yet, compressed where that makes it shorter. For making images: several may be written at a time.</summary>
    /// <param name="offset">The start of a cluster.</param>
    /// <param name="source">A cluster's bytes; fewer at the disk's end.</param>
    public async ValueTask WriteCompressedAsync(long offset, ReadOnlyMemory<byte> source)
    {
        if (IsReadOnly) throw new InvalidOperationException("The image is read-only.");
        if (offset < 0 || offset % ClusterSize != 0 || source.IsEmpty || offset > Length - source.Length || (source.Length != ClusterSize && offset + source.Length != Length)) throw new ArgumentException("A compressed write is one whole cluster of the disk.", nameof(source));
        using (await HoldAsync(offset, source.Length, exclusive: true).ConfigureAwait(false))
        {
            var mapping = await MapAsync(offset, source.Length).ConfigureAwait(false);
            if (mapping.Kind != Qcow2MappingKind.Unallocated || !await TryWritePackedAsync(offset, source).ConfigureAwait(false)) await WriteHeldAsync(offset, source).ConfigureAwait(false);
        }

        await WriteBackIfCrowdedAsync().ConfigureAwait(false);
    }

    private async ValueTask<bool> TryWritePackedAsync(long offset, ReadOnlyMemory<byte> source)
    {
        var cluster = ArrayPool<byte>.Shared.Rent(ClusterSize);
        var packed = new byte[ClusterSize - 1];
        source.CopyTo(cluster);
        cluster.AsSpan(source.Length, ClusterSize - source.Length).Clear();
        var length = ClusterCompression.Pack(Compression, cluster.AsSpan(0, ClusterSize), packed);
        ArrayPool<byte>.Shared.Return(cluster);
        if (length == 0) return false;
        await OwnL2Async((int)(offset / L2Coverage)).ConfigureAwait(false);
        long host;
        await _packing.WaitAsync().ConfigureAwait(false);
        try
        {
            host = await PlaceAsync(length).ConfigureAwait(false);
            _packedEnd = host + length;
        }
        finally
        {
            _packing.Release();
        }

        await WriteDataAsync(host, packed.AsMemory(0, length)).ConfigureAwait(false);
        var sectors = (ulong)((host + length - 1 >> 9) - (host >> 9));
        await SetEntryAsync(offset, Qcow2Spec.Compressed | sectors << (62 - (ClusterBits - 8)) | (ulong)host, 0).ConfigureAwait(false);
        return true;
    }

    /// <summary>A place for so many bytes, less than a cluster's; every cluster that it touches counts it.</summary>
    private async ValueTask<long> PlaceAsync(int length)
    {
        var room = (int)(-_packedEnd & (ClusterSize - 1));
        if (room >= length && await ChangeRefcountAsync(_packedEnd >> ClusterBits, 1).ConfigureAwait(false)) return _packedEnd;
        var (host, _) = await AllocateAsync().ConfigureAwait(false);
        var continues = room > 0 && room < length && host == _packedEnd + room;
        return continues && await ChangeRefcountAsync(_packedEnd >> ClusterBits, 1).ConfigureAwait(false) ? _packedEnd : host;
    }
}
