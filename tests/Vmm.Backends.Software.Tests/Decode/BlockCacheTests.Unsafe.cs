using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Xunit;

namespace Vmm.Backends.Software.Tests.Decode;

/// <summary>Blocks beside a translator: those that are not kept make way for others, and no list may lead to them any more.</summary>
public sealed unsafe class BlockCacheTests : IDisposable
{
    private const nint Stale = 0x5A1E;
    private readonly VcpuMemory _memory = new();
    private readonly BlockCache _blocks;
    private readonly Op[] _ops = new Op[8];

    public BlockCacheTests()
    {
        _blocks = new BlockCache(_memory, Stale);
        _blocks.Begin(static () => { }, translates: true);
    }

    // SAFETY: blocks are looked at while they are in the cache.
    [Fact]
    public void Add_MoreThanTheRingHolds_ForgetsTheOldestOnly()
    {
        var added = 0UL;
        for (; _blocks.Find(0, CpuMode.Code64) != null || added == 0; added++) Add(added);
        Assert.InRange(added, 1000UL, 1_000_000UL);
        for (var i = 0UL; i < added; i++)
        {
            var block = _blocks.Find(i * 64, CpuMode.Code64);
            Assert.True(block == null || block->Physical == i * 64);
            if (i > added / 2) Assert.True(block != null);
        }

        Assert.True(_blocks.FirstInPage(0) == null);
        Assert.Equal(64, ListOf(added / 64 - 1).Count);
    }

    [Fact]
    public void Keep_ThenMoreThanTheRingHolds_StaysInItsPage()
    {
        for (var i = 0UL; i < 64; i++) Add(i);
        List<ulong> wanted = [5, 0, 63];
        foreach (var i in wanted)
        {
            var block = _blocks.Find(i * 64, CpuMode.Code64);
            var kept = _blocks.Keep(block);
            Assert.True(kept != block && _blocks.Find(i * 64, CpuMode.Code64) == kept && _blocks.Keep(kept) == kept);
        }

        Assert.Equal(64, ListOf(0).Count);
        for (var i = 64UL; _blocks.Find(64, CpuMode.Code64) != null; i++) Add(i);
        Assert.Equal([.. wanted.Select(i => i * 64).Order()], ListOf(0).Order());

        var survivor = _blocks.Find(5 * 64, CpuMode.Code64);
        _blocks.Drop(0, ulong.MaxValue, null);
        Assert.True(_blocks.Find(5 * 64, CpuMode.Code64) == null && _blocks.FirstInPage(0) == null);
        Assert.Equal(Stale, BlockCache.First(survivor).Handler);
    }

    [Fact]
    public void Add_OfWhatIsNeverTranslated_IsNotForgotten()
    {
        Add(0, CpuMode.Code32);
        for (var i = 1UL; i < 100_000; i++) Add(i, i % 2 == 0 ? CpuMode.Code64 : CpuMode.Code64 | CpuMode.Step);
        Assert.True(_blocks.Find(0, CpuMode.Code32) != null);
        Assert.True(_blocks.Find(64, CpuMode.Code64 | CpuMode.Step) != null);
    }

    public void Dispose()
    {
        _blocks.Dispose();
        _memory.Dispose();
    }

    private void Add(ulong index, uint mode = CpuMode.Code64) => _blocks.Add(index * 64, CodeMap.Granules(index * 64, 64), mode, _ops.Length - 1, 64, _ops);

    private List<ulong> ListOf(ulong page)
    {
        List<ulong> found = [];
        for (var block = _blocks.FirstInPage(page << 12); block != null; block = block->PageNext) found.Add(block->Physical);
        return found;
    }
}
