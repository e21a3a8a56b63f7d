// QEMU docs/interop/qcow2.txt, "Compressed Clusters Descriptor" and compression_type.
using System.Buffers;
using System.IO.Compression;
using ZstdSharp;
using ZstdSharp.Unsafe;

namespace Vmm.Devices.Storage.Qcow2;

/// <summary>Packs and unpacks clusters. Never more than a cluster comes out, whatever the input.</summary>
internal static class ClusterCompression
{
    // A frame of one cluster of at most 2 MiB needs a window of no more.
    private const int MaximumWindowLog = 22;

    /// <summary>Unpacks a whole cluster; false where the input does not hold one. What follows the compressed data is ignored.</summary>
    public static bool TryUnpack(Qcow2Compression kind, byte[] packed, int length, Span<byte> cluster) =>
        kind == Qcow2Compression.Zstd ? TryUnpackZstd(packed.AsSpan(0, length), cluster) : TryInflate(packed, length, cluster);

    /// <summary>Packs a cluster; zero where the result would not be shorter than the destination.</summary>
    public static int Pack(Qcow2Compression kind, ReadOnlySpan<byte> cluster, byte[] packed)
    {
        if (kind == Qcow2Compression.Zstd)
        {
            using var compressor = new Compressor();
            return compressor.TryWrap(cluster, packed, out var written) ? written : 0;
        }

        using var stream = new MemoryStream(packed);
        try
        {
            using var deflate = new DeflateStream(stream, CompressionLevel.Optimal, leaveOpen: true);
            deflate.Write(cluster);
        }
        catch (NotSupportedException)
        {
            return 0; // the stream over the array does not grow
        }

        return (int)stream.Position;
    }

    private static bool TryInflate(byte[] packed, int length, Span<byte> cluster)
    {
        try
        {
            using var inflate = new DeflateStream(new MemoryStream(packed, 0, length), CompressionMode.Decompress);
            inflate.ReadExactly(cluster);
            return true;
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException)
        {
            return false;
        }
    }

    private static bool TryUnpackZstd(ReadOnlySpan<byte> packed, Span<byte> cluster)
    {
        try
        {
            using var decompressor = new Decompressor();
            decompressor.SetParameter(ZSTD_dParameter.ZSTD_d_windowLogMax, MaximumWindowLog);
            while (!cluster.IsEmpty)
            {
                var status = decompressor.UnwrapStream(packed, cluster, out var consumed, out var written);
                packed = packed[consumed..];
                cluster = cluster[written..];
                if (cluster.IsEmpty) return true;
                if (status == OperationStatus.InvalidData || (consumed == 0 && written == 0) || (packed.IsEmpty && written == 0)) return false;
            }

            return true;
        }
        catch (ZstdException)
        {
            return false;
        }
    }
}
