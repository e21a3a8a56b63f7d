using Vmm.Devices.Storage.Qcow2;

namespace Vmm.Devices.Storage;

/// <summary>Copies disks, leaving out what is zeros.</summary>
public static class DiskCopy
{
    private const int Chunk = 2 << 20, Grain = 64 << 10;

    /// <summary>Copies all of a disk to one that reads as zeros and is at least as large.</summary>
    /// <param name="source">What is read.</param>
    /// <param name="target">What is written.</param>
    /// <param name="compress">Writes compressed clusters; the target is a qcow2 image then.</param>
    /// <param name="progress">Told how much is done, from 0 to 1.</param>
    /// <param name="cancellationToken">Stops between two pieces.</param>
    public static async Task CopyAsync(IBlockStore source, IBlockStore target, bool compress = false, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(target);
        if (target.Length < source.Length) throw new ArgumentException($"The target has {target.Length} bytes, less than the {source.Length} of the source.", nameof(target));
        var packed = compress ? target as Qcow2Store ?? throw new ArgumentException("Only qcow2 images have compressed clusters.", nameof(target)) : null;
        var grain = packed?.ClusterSize ?? Grain;
        var buffer = new byte[Math.Max(Chunk, grain)];
        for (long at = 0; at < source.Length;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            progress?.Report((double)at / source.Length);
            var extent = await source.GetExtentAsync(at, source.Length - at).ConfigureAwait(false);
            if (extent.IsZero && (at + extent.Length) / grain * grain > at)
            {
                at += extent.Length == source.Length - at ? extent.Length : (at + extent.Length) / grain * grain - at;
                continue;
            }

            var piece = buffer.AsMemory(0, (int)Math.Min(buffer.Length, source.Length - at));
            if (!extent.IsZero && extent.Length < piece.Length) piece = piece[..(int)Math.Min(piece.Length, (extent.Length + grain - 1) / grain * grain)];
            await source.ReadAsync(at, piece).ConfigureAwait(false);
            await WriteAsync(target, packed, at, piece, grain).ConfigureAwait(false);
            at += piece.Length;
        }

        await target.FlushAsync().ConfigureAwait(false);
        progress?.Report(1);
    }

    private static async ValueTask WriteAsync(IBlockStore target, Qcow2Store? packed, long at, Memory<byte> piece, int grain)
    {
        while (!piece.IsEmpty)
        {
            var part = piece[..Math.Min(grain, piece.Length)];
            if (!BlockPieces.IsZero(part.Span))
            {
                if (packed is not null && (part.Length == grain || at + part.Length == packed.Length)) await packed.WriteCompressedAsync(at, part).ConfigureAwait(false);
                else await target.WriteAsync(at, part).ConfigureAwait(false);
            }

            (piece, at) = (piece[part.Length..], at + part.Length);
        }
    }
}
