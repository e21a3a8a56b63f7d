using Vmm.Devices.Storage;

namespace Vmm.Storage.Tests.Support;

/// <summary>What a disk should hold, beside the disk: each operation is made on both.</summary>
internal sealed class DiskModel(IBlockStore store, byte[] contents, long maximum)
{
    public IBlockStore Store { get; set; } = store;

    public byte[] Contents { get; private set; } = contents;

    /// <summary>Discarded ranges read as before or as zeros, block by block; the model takes over what the disk says.</summary>
    public async Task ApplyAsync(DiskOperation operation)
    {
        var at = (int)(operation.At % (uint)(Contents.Length + 1));
        var count = (int)Math.Min(operation.Count % 200_000, Contents.Length - at);

        // Many disks are made of blocks: aligned requests take other paths.
        if (operation.Value % 3 == 0) (at, count) = (at & ~0xFFF, count & ~0xFFF);
        var piece = new byte[count];
        switch (operation.Kind)
        {
            case DiskOperationKind.Write:
                Pattern(piece, operation.Value);
                await Store.WriteAsync(at, piece);
                piece.CopyTo(Contents, at);
                break;
            case DiskOperationKind.WritePieces:
                Pattern(piece, operation.Value);
                var cut = count / 3;
                await Store.WriteAsync(at, [piece.AsMemory(0, cut), piece.AsMemory(cut, cut), piece.AsMemory(2 * cut)]);
                piece.CopyTo(Contents, at);
                break;
            case DiskOperationKind.WriteZeroes:
                await Store.WriteZeroesAsync(at, count, operation.Value % 2 == 0);
                piece.CopyTo(Contents, at);
                break;
            case DiskOperationKind.Discard:
                await Store.DiscardAsync(at, count);
                await Store.ReadAsync(at, piece);
                for (var i = 0; i < count; i++) Assert.True(piece[i] == 0 || piece[i] == Contents[at + i], $"Byte {at + i} became {piece[i]} by a discard.");
                piece.CopyTo(Contents, at);
                break;
            case DiskOperationKind.Read:
                await Store.ReadAsync(at, piece);
                AssertSame(Contents.AsSpan(at, count), piece, at);
                var pieces = new byte[count];
                await Store.ReadAsync(at, [pieces.AsMemory(0, count / 2), pieces.AsMemory(count / 2)]);
                Assert.True(pieces.AsSpan().SequenceEqual(piece));
                break;
            case DiskOperationKind.Flush:
                await Store.FlushAsync();
                break;
            case DiskOperationKind.Resize:
                var length = operation.Count % (maximum + 1) / 512 * 512;
                await Store.ResizeAsync(length);
                var old = Contents;
                Contents = new byte[length];
                old.AsSpan(0, (int)Math.Min(old.Length, length)).CopyTo(Contents);
                break;
        }
    }

    public async Task CheckAsync()
    {
        Assert.Equal(Contents.Length, Store.Length);
        var all = new byte[Contents.Length];
        await Store.ReadAsync(0, all);
        AssertSame(Contents, all, 0);
        for (long at = 0; at < Contents.Length;)
        {
            var extent = await Store.GetExtentAsync(at, Contents.Length - at);
            Assert.InRange(extent.Length, 1, Contents.Length - at);
            if (extent.IsZero) Assert.True(Contents.AsSpan((int)at, (int)extent.Length).IndexOfAnyExcept((byte)0) < 0, $"The extent at {at} is not zero.");
            at += extent.Length;
        }
    }

    public static void Pattern(Span<byte> bytes, byte value) => new Random(value * 7919 + bytes.Length).NextBytes(bytes);

    private static void AssertSame(ReadOnlySpan<byte> expected, ReadOnlySpan<byte> actual, long offset)
    {
        var same = expected.CommonPrefixLength(actual);
        if (same < expected.Length) Assert.Fail($"Byte {offset + same} is {actual[same]}, should be {expected[same]}.");
    }
}
