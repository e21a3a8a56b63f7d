using FsCheck.Xunit;
using Vmm.Core.Memory;

namespace Vmm.Core.Tests.Memory;

/// <summary>Memory that is given back and taken again: whatever was written, the next one finds zeros.</summary>
public class PagesPoolTests
{
    // A length that no other test uses.
    private const int Pages = 1237;
    private const ulong Length = Pages * MemoryRegion.PageSize;

    // Before, the kernel cannot tell which pages are used, and nothing is kept.
    private static bool IsSupported => OperatingSystem.IsLinux() && Environment.OSVersion.Version >= new Version(6, 7);

    [Property(MaxTest = 60)]
    public void Region_AfterAnyWritesAndReadsOfAnother_IsZero(int seed)
    {
        var random = new Random(seed);
        using (var first = MemoryRegion.Allocate("first", 0, Length))
        {
            var bytes = new byte[1 + random.Next(3 * MemoryRegion.PageSize)];
            for (var count = random.Next(2 * PagesPool.MostPages); count > 0; count--)
            {
                var offset = (ulong)random.NextInt64((long)Length - bytes.Length);
                if (random.Next(3) == 0)
                {
                    first.Read(offset, bytes);
                    continue;
                }

                random.NextBytes(bytes);
                first.Write(offset, bytes);
            }
        }

        using var next = MemoryRegion.Allocate("next", 0, Length);
        Assert.True(IsZero(next));
    }

    [Fact]
    public void Regions_MoreThanAreKept_AreZeroAndNobodyElses()
    {
        for (var round = 0; round < 3; round++)
        {
            var regions = Enumerable.Range(0, 2 * PagesPool.Size).Select(i => MemoryRegion.Allocate($"{i}", 0, Length)).ToArray();
            Assert.All(regions, r => Assert.True(IsZero(r)));
            for (var i = 0; i < regions.Length; i++) regions[i].Write((ulong)i * 8, [(byte)(i + 1)]);
            for (var i = 0; i < regions.Length; i++)
            {
                var found = new byte[1];
                regions[i].Read((ulong)i * 8, found);
                Assert.Equal(i + 1, found[0]);
                regions[i].Dispose();
            }
        }
    }

    [Fact]
    public void Keep_FewPages_AreTakenAgain()
    {
        if (!IsSupported) return;
        var pool = new PagesPool();
        using var region = MemoryRegion.Allocate("few", 0, Length);
        for (ulong page = 0; page < PagesPool.MostPages; page++) region.Write(page * 3 * MemoryRegion.PageSize, [1, 2, 3]);
        Assert.True(pool.TryKeep(region.HostAddress, Length));
        Assert.True(IsZero(region));
        Assert.False(pool.TryTake(Length - MemoryRegion.PageSize, out _));
        Assert.True(pool.TryTake(Length, out var address));
        Assert.Equal(region.HostAddress, address);
        Assert.False(pool.TryTake(Length, out _));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Keep_ManyPages_IsRefusedAndLeavesThemAsTheyWere(ulong step)
    {
        var pool = new PagesPool();
        using var region = MemoryRegion.Allocate("many", 0, Length);
        for (ulong page = 0; page <= PagesPool.MostPages; page++) region.Write(page * step * MemoryRegion.PageSize, [7]);
        Assert.False(pool.TryKeep(region.HostAddress, Length));
        for (ulong page = 0; page <= PagesPool.MostPages; page++)
        {
            var found = new byte[1];
            region.Read(page * step * MemoryRegion.PageSize, found);
            Assert.Equal(7, found[0]);
        }
    }

    private static bool IsZero(MemoryRegion region)
    {
        var bytes = new byte[region.Length];
        region.Read(0, bytes);
        return !bytes.AsSpan().ContainsAnyExcept((byte)0);
    }
}
