using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Translate;
using Xunit;

namespace Vmm.Backends.Software.Tests.Decode;

/// <summary>Blocks beside a translator: they make way for others, and no list may lead to them any more; what is kept of those that were translated.</summary>
public sealed unsafe class BlockCacheTests : IDisposable
{
    private const nint Stale = 0x5A1E;
    private readonly VcpuMemory _memory = new();
    private readonly BlockCache _blocks;
    private readonly BlockBuilder _builder = new();
    private readonly KeptBlocks _kept = new(atOnce: true);
    // mov rax, [rbx+8]; cmp rax, 5; jne; and what is no instruction.
    private readonly byte[] _code = [0x48, 0x8B, 0x43, 0x08, 0x48, 0x83, 0xF8, 0x05, 0x75, 0x10, 0x06];

    public BlockCacheTests()
    {
        _blocks = new BlockCache(_memory, Stale, _builder);
        _blocks.Begin(translates: true);
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

    [Theory]
    [InlineData(0)]
    [InlineData(10)]
    public void Unfold_OfWhatWasKept_DecodesTheSame(int from)
    {
        var block = Add(0, CpuMode.Code64, from);
        var (before, header) = (OpsOf(block), (block->Granules, block->Count, block->Bytes, block->Tail));
        var kept = _kept.Add(block);
        Assert.True(_blocks.Unfold(block) == block && _blocks.Unfold(kept) == block && _kept.Find(0, CpuMode.Code64) == kept);
        var round = 1UL;
        for (var i = 0; i < 3; i++)
        {
            for (; _blocks.Find(0, CpuMode.Code64) != null; round++) Add(round);
            var unfolded = _blocks.Unfold(kept);
            Assert.True(_blocks.Find(0, CpuMode.Code64) == unfolded && unfolded->Kept == kept && _blocks.Unfold(kept) == unfolded);
            Assert.Equal(before, OpsOf(unfolded));
            Assert.Equal(header, (unfolded->Granules, unfolded->Count, unfolded->Bytes, unfolded->Tail));
        }

        var dropped = _blocks.Find(0, CpuMode.Code64);
        _blocks.Drop(0, 1);
        Assert.All(OpsOf(dropped), op => Assert.Equal(Stale, op.Handler));
    }

    [Fact]
    public void Unfold_OfWhatIsStale_IsStaleAndNowhereElse()
    {
        var kept = _kept.Add(Add(0));
        Assert.Equal([(nint)kept], _kept.Drop(0, 1));
        Assert.True(kept->IsStale && _kept.Find(0, CpuMode.Code64) == null);
        _blocks.Drop(0, 1);
        var unfolded = _blocks.Unfold(kept);
        Assert.All(OpsOf(unfolded), op => Assert.Equal(Stale, op.Handler));
        Assert.True(_blocks.Find(0, CpuMode.Code64) == null && _blocks.FirstInPage(0) == null);
    }

    [Fact]
    public void Unfold_WhereOtherBytesWereDecodedMeanwhile_IsOfThoseThatWereKept()
    {
        var block = Add(0);
        var kept = _kept.Add(block);
        var before = OpsOf(block);
        _blocks.Drop(0, 1);
        var other = Add(0, CpuMode.Code64, 4);
        var unfolded = _blocks.Unfold(kept);
        Assert.Equal(before, OpsOf(unfolded));
        Assert.True(unfolded != other && _blocks.Find(0, CpuMode.Code64) == other);
        // It makes way as others do.
        for (var i = 1UL; _blocks.Find(0, CpuMode.Code64) != null; i++) Add(i);
    }

    [Fact]
    public void Keep_MoreThanThereIsRoomFor_SaysSoUntilAllGo()
    {
        var block = Add(0);
        var added = 0;
        for (; _kept.Add(block) != null; added++) { }
        Assert.InRange(added, 100_000, 10_000_000);
        Assert.True(_kept.IsFull);
        _kept.TakeAll();
        Assert.True(_kept.Find(0, CpuMode.Code64) == null);
        _kept.Clear();
        Assert.True(!_kept.IsFull && _kept.Add(block) == _kept.Find(0, CpuMode.Code64));
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
        _kept.Dispose();
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
