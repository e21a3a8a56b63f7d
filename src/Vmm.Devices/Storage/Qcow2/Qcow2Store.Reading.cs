using System.Buffers;

namespace Vmm.Devices.Storage.Qcow2;

public sealed partial class Qcow2Store
{
    private readonly OperationPool<HeldOperation> _requests = new(static pool => new HeldOperation(pool));

    // The cluster that was unpacked last: small sequential reads come back to it.
    private Unpacked? _unpacked;

    private sealed record Unpacked(long HostOffset, byte[] Cluster);

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> destination)
    {
        var hold = HoldAsync(offset, destination.Length, exclusive: false);
        if (!hold.IsCompletedSuccessfully) return ReadSlowAsync(hold, offset, destination);
        var held = hold.Result;
        if (!TryFindRun(offset, destination.Length, forWriting: false, out var host)) return ReadSlowAsync(new ValueTask<RangeLocks.Hold>(held), offset, destination);
        try
        {
            return _requests.Rent().Await(held, _file.ReadAsync(host, destination));
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, IReadOnlyList<Memory<byte>> destinations)
    {
        var length = BlockPieces.Length(destinations);
        if (length == 0) return default;
        var hold = HoldAsync(offset, length, exclusive: false);
        if (!hold.IsCompletedSuccessfully) return ReadSlowAsync(hold, offset, destinations);
        var held = hold.Result;
        if (!TryFindRun(offset, length, forWriting: false, out var host)) return ReadSlowAsync(new ValueTask<RangeLocks.Hold>(held), offset, destinations);
        try
        {
            return _requests.Rent().Await(held, _file.ReadAsync(host, destinations));
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    private async ValueTask ReadSlowAsync(ValueTask<RangeLocks.Hold> hold, long offset, Memory<byte> destination)
    {
        using var held = await hold.ConfigureAwait(false);
        await ReadHeldAsync(offset, destination).ConfigureAwait(false);
    }

    private async ValueTask ReadSlowAsync(ValueTask<RangeLocks.Hold> hold, long offset, IReadOnlyList<Memory<byte>> destinations)
    {
        using var held = await hold.ConfigureAwait(false);
        for (var i = 0; i < destinations.Count; i++)
        {
            await ReadHeldAsync(offset, destinations[i]).ConfigureAwait(false);
            offset += destinations[i].Length;
        }
    }

    /// <inheritdoc/>
    protected override async ValueTask<BlockExtent> ExtentCoreAsync(long offset, long length)
    {
        using var hold = await HoldAsync(offset, length, exclusive: false).ConfigureAwait(false);
        var mapping = await MapAsync(offset, length).ConfigureAwait(false);
        if (mapping.Kind != Qcow2MappingKind.Unallocated || _backing is null || offset >= _backing.Length) return new BlockExtent(mapping.Length, mapping.Kind is Qcow2MappingKind.Zero or Qcow2MappingKind.Unallocated);
        return await _backing.GetExtentAsync(offset, Math.Min(mapping.Length, _backing.Length - offset)).ConfigureAwait(false);
    }

    private ValueTask<RangeLocks.Hold> HoldAsync(long offset, long length, bool exclusive) =>
        _ranges.AcquireAsync(offset >> ClusterBits, ((offset + length - 1) >> ClusterBits) + 1, exclusive);

    /// <summary>Reads a range that the caller holds.</summary>
    private async ValueTask ReadHeldAsync(long offset, Memory<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            var mapping = await MapAsync(offset, destination.Length).ConfigureAwait(false);
            var piece = destination[..(int)mapping.Length];
            switch (mapping.Kind)
            {
                case Qcow2MappingKind.Data:
                    await ReadFileAsync(mapping.HostOffset, piece).ConfigureAwait(false);
                    break;
                case Qcow2MappingKind.Compressed:
                    var cluster = await UnpackAsync(mapping, offset).ConfigureAwait(false);
                    cluster.AsMemory((int)(offset & (ClusterSize - 1)), piece.Length).CopyTo(piece);
                    break;
                case Qcow2MappingKind.Unallocated when _backing is not null && offset < _backing.Length:
                    var inside = (int)Math.Min(_backing.Length - offset, piece.Length);
                    piece.Span[inside..].Clear();
                    await _backing.ReadAsync(offset, piece[..inside]).ConfigureAwait(false);
                    break;
                default:
                    piece.Span.Clear();
                    break;
            }

            (destination, offset) = (destination[piece.Length..], offset + piece.Length);
        }
    }

    private async ValueTask<byte[]> UnpackAsync(Qcow2Mapping mapping, long offset)
    {
        if (Volatile.Read(ref _unpacked) is { } last && last.HostOffset == mapping.HostOffset) return last.Cluster;
        var packed = ArrayPool<byte>.Shared.Rent(mapping.PackedLength);
        try
        {
            await ReadFileAsync(mapping.HostOffset, packed.AsMemory(0, mapping.PackedLength)).ConfigureAwait(false);
            var cluster = new byte[ClusterSize];
            if (!ClusterCompression.TryUnpack(Compression, packed, mapping.PackedLength, cluster)) throw Wrong(Entry(offset), $"the compressed data at 0x{mapping.HostOffset:x} is damaged");
            Volatile.Write(ref _unpacked, new Unpacked(mapping.HostOffset, cluster));
            return cluster;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(packed);
        }
    }
}
