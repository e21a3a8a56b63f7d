using System.Buffers.Binary;

namespace Vmm.Devices.Storage.Qcow2;

public sealed partial class Qcow2Store
{
    /// <inheritdoc/>
    protected override async ValueTask ResizeCoreAsync(long length)
    {
        if (length > Qcow2Spec.MaximumLength(ClusterSize, HasExtendedL2)) throw new ArgumentException($"{length} bytes are too many for clusters of {ClusterSize} bytes: convert the image to larger ones.", nameof(length));
        if (Version < 3 && Snapshots.Length > 0) throw new InvalidOperationException("An image of version 2 with snapshots keeps its size: convert it to version 3.");
        using var hold = await _ranges.AcquireAsync(0, long.MaxValue, exclusive: true).ConfigureAwait(false);
        var old = Length;
        if (length < old)
        {
            // What is cut off must be zeros when the disk grows again.
            await ZeroHeldAsync(length, old, mayUnmap: true).ConfigureAwait(false);
        }
        else
        {
            if (_header.L1EntriesFor(length) > _l1.Length) await GrowL1Async(_header.L1EntriesFor(length)).ConfigureAwait(false);
            Volatile.Write(ref _length, length);
            var zeroEnd = Math.Max((old + ClusterSize - 1) & -ClusterSize, _backing?.Length ?? 0);
            if (old < zeroEnd) await ZeroHeldAsync(old, Math.Min(zeroEnd, length), mayUnmap: true).ConfigureAwait(false);
        }

        await WriteBackAsync(withRefcounts: false).ConfigureAwait(false);
        var field = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(field, (ulong)length);
        await _file.WriteAsync(24, field).ConfigureAwait(false);
        await _file.FlushAsync().ConfigureAwait(false);
        _header = _header with { Size = length };
        Volatile.Write(ref _length, length);
    }

    private async ValueTask GrowL1Async(int entries)
    {
        var clusters = (entries * 8L + ClusterSize - 1) >> ClusterBits;
        var offset = await AllocateRunAsync(clusters).ConfigureAwait(false);
        await WriteBackAsync(withRefcounts: true).ConfigureAwait(false);
        var table = new ulong[entries];
        lock (_lock) _l1.CopyTo(table, 0);
        var bytes = new byte[clusters * ClusterSize];
        for (var i = 0; i < table.Length; i++) BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(i * 8), table[i]);
        await _file.WriteAsync(offset, bytes).ConfigureAwait(false);
        await _file.FlushAsync().ConfigureAwait(false);
        var fields = new byte[12];
        BinaryPrimitives.WriteUInt32BigEndian(fields, (uint)entries);
        BinaryPrimitives.WriteUInt64BigEndian(fields.AsSpan(4), (ulong)offset);
        await _file.WriteAsync(36, fields).ConfigureAwait(false);
        await _file.FlushAsync().ConfigureAwait(false);
        lock (_lock)
        {
            for (var cluster = _header.L1TableOffset >> ClusterBits; cluster << ClusterBits < _header.L1TableOffset + _header.L1Size * 8L; cluster++)
            {
                _metadata.Remove(cluster);
                _freed.Add(cluster);
            }

            for (var i = 0; i < clusters; i++) _metadata.Add((offset >> ClusterBits) + i);
            _l1 = table;
            _header = _header with { L1TableOffset = offset, L1Size = entries };
        }
    }
}
