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
    private readonly BlockBuilder _builder = new();
    // mov rax, [rbx+8]; cmp rax, 5; jne; and what is no instruction.
    private readonly byte[] _code = [0x48, 0x8B, 0x43, 0x08, 0x48, 0x83, 0xF8, 0x05, 0x75, 0x10, 0x06];

    public BlockCacheTests()
    {
        _blocks = new BlockCache(_memory, Stale, _builder);
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
        // Nothing was left of its instructions but their bytes.
        Assert.True(survivor->Code == null);
        Assert.Equal(Stale, BlockCache.First(_blocks.Unfold(survivor)).Handler);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(10)]
    public void Unfold_OfWhatWasKept_DecodesTheSame(int from)
    {
        var block = Add(0, CpuMode.Code64, from);
        var before = OpsOf(block);
        var kept = _blocks.Keep(block);
        Assert.Equal(before, OpsOf(kept));
        var round = 1UL;
        for (var i = 0; i < 3; i++)
        {
            for (; kept->Code != null; round++) Add(round);
            Assert.True(_blocks.Unfold(kept) == kept && _blocks.Find(0, CpuMode.Code64) == kept);
            Assert.Equal(before, OpsOf(kept));
        }

        _blocks.Drop(0, 1, null);
        Assert.All(OpsOf(kept), op => Assert.Equal(Stale, op.Handler));
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

    private Block* Add(ulong index, uint mode = CpuMode.Code64, int from = 0)
    {
        var ops = _builder.Build(_code.AsSpan(from), mode, false);
        return _blocks.Add(index * 64, CodeMap.Granules(index * 64, 64), mode, _builder.Count, _builder.Bytes, _code.AsSpan(from, _builder.Covered), ops);
    }

    // SAFETY: the block has its ops.
    private static Op[] OpsOf(Block* block) => new ReadOnlySpan<Op>(block->Code, block->Ops).ToArray();

    private List<ulong> ListOf(ulong page)
    {
        List<ulong> found = [];
        for (var block = _blocks.FirstInPage(page << 12); block != null; block = block->PageNext) found.Add(block->Physical);
        return found;
    }
}
