// QEMU docs/interop/qcow2.txt, "Cluster mapping": bit 0 of standard clusters, the zero bits of extended entries.
namespace Vmm.Devices.Storage.Qcow2;

public sealed partial class Qcow2Store
{
    /// <inheritdoc/>
    protected override async ValueTask DiscardCoreAsync(long offset, long length)
    {
        var start = (offset + ClusterSize - 1) & -ClusterSize;
        var end = offset + length == Length ? offset + length : (offset + length) & -ClusterSize;

        // Version 2 cannot say "zeros": over a backing store the old bytes would come back.
        if (start >= end || (Version < 3 && _backing is not null)) return;
        using (await HoldAsync(start, end - start, exclusive: true).ConfigureAwait(false)) await ZeroHeldAsync(start, end, mayUnmap: true).ConfigureAwait(false);
        await WriteBackIfCrowdedAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async ValueTask WriteZeroesCoreAsync(long offset, long length, bool mayUnmap)
    {
        using (await HoldAsync(offset, length, exclusive: true).ConfigureAwait(false)) await ZeroHeldAsync(offset, offset + length, mayUnmap).ConfigureAwait(false);
        await WriteBackIfCrowdedAsync().ConfigureAwait(false);
    }

    private async ValueTask ZeroHeldAsync(long offset, long end, bool mayUnmap)
    {
        while (offset < end)
        {
            var mapping = await MapAsync(offset, end - offset).ConfigureAwait(false);
            var isZero = mapping.Kind == Qcow2MappingKind.Zero || (mapping.Kind == Qcow2MappingKind.Unallocated && (_backing is null || offset >= _backing.Length));
            if (isZero && (!HasExtendedL2 || offset % ClusterSize != 0 || mapping.Length < ClusterSize))
            {
                offset += mapping.Length;
                continue;
            }

            if (isZero)
            {
                offset += mapping.Length & -ClusterSize;
                continue;
            }

            var clusterEnd = Math.Min((offset & -ClusterSize) + ClusterSize, end);
            var isWhole = offset % ClusterSize == 0 && (clusterEnd - offset == ClusterSize || clusterEnd == Length);
            if (isWhole && (Version >= 3 || _backing is null)) await ZeroClusterAsync(offset, mayUnmap).ConfigureAwait(false);
            else await WriteHeldAsync(offset, new byte[clusterEnd - offset]).ConfigureAwait(false);
            offset = clusterEnd;
        }
    }

    private async ValueTask ZeroClusterAsync(long offset, bool mayUnmap)
    {
        var (old, _) = await EntryForWritingAsync(offset).ConfigureAwait(false);
        var isOurs = (old & Qcow2Spec.Compressed) == 0 && (old & Qcow2Spec.Copied) != 0 && (old & Qcow2Spec.OffsetMask) != 0;
        var keeps = isOurs && !mayUnmap && Version >= 3 && !HasExtendedL2;
        var entry = HasExtendedL2 || Version < 3 ? 0 : keeps ? old | Qcow2Spec.ZeroFlag : _backing is null && mayUnmap ? 0 : Qcow2Spec.ZeroFlag;
        await SetEntryAsync(offset, entry, (ulong)uint.MaxValue << 32).ConfigureAwait(false);
        if (!keeps) FreeEntry(old);
    }
}
