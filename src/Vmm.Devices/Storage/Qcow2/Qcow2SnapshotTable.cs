// QEMU docs/interop/qcow2.txt, "Snapshots".
using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Text;

namespace Vmm.Devices.Storage.Qcow2;

/// <summary>Reads the table of internal snapshots.</summary>
internal static class Qcow2SnapshotTable
{
    private const int EntryLength = 40, MaximumExtra = 1024;

    public static async ValueTask<(ImmutableArray<Qcow2Snapshot> Snapshots, long Length)> ReadAsync(Qcow2Header header, IBlockStore file, string image)
    {
        var snapshots = ImmutableArray.CreateBuilder<Qcow2Snapshot>();
        var at = header.SnapshotsOffset;
        for (var i = 0; i < header.NbSnapshots; i++)
        {
            var place = $"snapshot table, entry {i}";
            var head = await ReadAsync(file, image, place, at, EntryLength).ConfigureAwait(false);
            ulong l1Offset = BinaryPrimitives.ReadUInt64BigEndian(head);
            uint l1Size = BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(8)), extra = BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(36));
            int idLength = BinaryPrimitives.ReadUInt16BigEndian(head.AsSpan(12)), nameLength = BinaryPrimitives.ReadUInt16BigEndian(head.AsSpan(14));
            if (extra > MaximumExtra) throw new ImageFormatException(image, place, $"extra_data_size {extra} is more than {MaximumExtra}");
            if (l1Size > Qcow2Spec.MaximumL1Bytes / 8) throw new ImageFormatException(image, place, $"l1_size {l1Size} is more than {Qcow2Spec.MaximumL1Bytes / 8}");
            if (l1Offset % (ulong)header.ClusterSize != 0 || l1Offset == 0 || l1Offset > (ulong)file.Length || (long)l1Offset + l1Size * 8L > file.Length) throw new ImageFormatException(image, place, $"l1_table_offset 0x{l1Offset:x} is no cluster of the file");
            var rest = await ReadAsync(file, image, place, at + EntryLength, (int)extra + idLength + nameLength).ConfigureAwait(false);
            var size = extra >= 16 ? BinaryPrimitives.ReadUInt64BigEndian(rest.AsSpan(8)) : (ulong)header.Size;
            if (size > (ulong)Qcow2Spec.MaximumLength(header.ClusterSize, header.HasExtendedL2) || header.L1EntriesFor((long)size) > l1Size) throw new ImageFormatException(image, place, $"its disk of {size} bytes is too large for its L1 table of {l1Size} entries");
            var state = extra >= 8 ? BinaryPrimitives.ReadUInt64BigEndian(rest) : BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(32));
            snapshots.Add(new Qcow2Snapshot(Encoding.UTF8.GetString(rest.AsSpan((int)extra, idLength)), Encoding.UTF8.GetString(rest.AsSpan((int)extra + idLength, nameLength)), (long)size,
                DateTimeOffset.FromUnixTimeSeconds(BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(16))), (long)Math.Min(state, long.MaxValue))
            { L1TableOffset = (long)l1Offset, L1Size = (int)l1Size });
            at += (EntryLength + extra + idLength + nameLength + 7) & ~7L;
            if (at - header.SnapshotsOffset > Qcow2Spec.MaximumSnapshotTableBytes) throw new ImageFormatException(image, place, "the table is longer than 16 MiB");
        }

        return (snapshots.ToImmutable(), at - header.SnapshotsOffset);
    }

    private static async ValueTask<byte[]> ReadAsync(IBlockStore file, string image, string place, long at, int length)
    {
        if (at > file.Length - length) throw new ImageFormatException(image, place, "it is past the file's end");
        var bytes = new byte[length];
        await file.ReadAsync(at, bytes).ConfigureAwait(false);
        return bytes;
    }
}
