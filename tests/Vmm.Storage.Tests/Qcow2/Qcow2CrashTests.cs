using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.Storage.Tests.Support;
using Vmm.TestSupport.Storage;

namespace Vmm.Storage.Tests.Qcow2;

/// <summary>The power goes at any change: the image opens, has no damage but leaks, and all that was flushed is there.</summary>
public class Qcow2CrashTests
{
    private const int Size = 600 * 1024, Block = 1024;

    public static TheoryData<string> Kinds => ["v3", "v2", "lazy", "extended", "tiny"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task PowerCutAtAnyChange_LosesNothingFlushed(string kind)
    {
        var options = kind switch
        {
            "v2" => new Qcow2CreateOptions { Version = 2, ClusterSize = 4096 },
            "lazy" => new Qcow2CreateOptions { ClusterSize = 4096, LazyRefcounts = true },
            "extended" => new Qcow2CreateOptions { ClusterSize = 1 << 14, ExtendedL2 = true },
            "tiny" => new Qcow2CreateOptions { ClusterSize = 512 },
            _ => new Qcow2CreateOptions { ClusterSize = 4096 },
        };
        var rounds = int.TryParse(Environment.GetEnvironmentVariable("VMM_TEST_POWER_CUTS"), out var n) ? n : 12;
        await using var empty = new MemoryStore(0);
        await Qcow2Store.CreateAsync(empty, Size, options);
        var start = new byte[empty.Length];
        await empty.ReadAsync(0, start);
        var total = await CountChangesAsync(start);
        for (var round = 0; round < rounds; round++) await CutAsync(start, new Random(round), (long)round * total / rounds, kind);
    }

    private static async Task<long> CountChangesAsync(byte[] start)
    {
        var disk = new PowerCutStore(start);
        await using (var image = await Qcow2Store.OpenAsync(disk, "disk")) await WorkAsync(image, new Random(0), new byte[Size / Block], new bool[Size / Block]);
        return disk.Changes;
    }

    private static async Task CutAsync(byte[] start, Random random, long cutAt, string kind)
    {
        var disk = new PowerCutStore(start, cutAt);
        var flushed = new byte[Size / Block];
        var touched = new bool[Size / Block];
        try
        {
            var image = await Qcow2Store.OpenAsync(disk, "disk", new Qcow2Options { CacheBytes = 1 });
            await WorkAsync(image, random, flushed, touched);
            await image.DisposeAsync();
        }
        catch (IOException) when (disk.IsCut)
        {
        }

        var after = new MemoryStore(disk.Medium(random));
        var found = await Qcow2Store.OpenAsync(after, "disk");
        var result = await found.CheckAsync();
        Assert.True(result.Corruptions == 0, $"Cut at {cutAt} ({kind}): {string.Join('\n', result.Messages)}");
        var block = new byte[Block];
        for (var i = 0; i < flushed.Length; i++)
        {
            await found.ReadAsync(i * Block, block);

            // What was written after the last flush may be there or not, or in part; what was flushed and not written again is.
            if (!touched[i]) Assert.True(block.All(b => b == flushed[i]), $"Cut at {cutAt} ({kind}): block {i} is {block[0]}, {flushed[i]} was flushed.");
        }
    }

    private static async Task WorkAsync(Qcow2Store image, Random random, byte[] flushed, bool[] touched)
    {
        var written = new byte[flushed.Length];
        for (var i = 1; i < 160; i++)
        {
            var at = random.Next(written.Length);
            var count = Math.Min(random.Next(1, 12), written.Length - at);
            var isZero = random.Next(6) == 0;
            written.AsSpan(at, count).Fill(isZero ? (byte)0 : (byte)i);
            touched.AsSpan(at, count).Fill(true);
            if (isZero)
            {
                await image.DiscardAsync(at * Block, count * Block);
                await image.WriteZeroesAsync(at * Block, count * Block);
            }
            else
            {
                await image.WriteAsync(at * Block, Enumerable.Repeat((byte)i, count * Block).ToArray());
            }

            if (random.Next(5) > 0) continue;
            await image.FlushAsync();
            written.CopyTo(flushed, 0);
            touched.AsSpan().Clear();
        }
    }
}
