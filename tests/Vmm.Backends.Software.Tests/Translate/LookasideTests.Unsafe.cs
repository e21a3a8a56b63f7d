using System.Runtime.InteropServices;
using Vmm.Backends.Software.Mmu;
using Xunit;

namespace Vmm.Backends.Software.Tests.Translate;

/// <summary>The table behind TLB and target cache.</summary>
public sealed unsafe class LookasideTests : IDisposable
{
    private const int Sets = 16;
    private readonly byte* _memory = (byte*)NativeMemory.AllocZeroed(Sets * Lookaside.SetBytes);
    private readonly Lookaside _table;

    public LookasideTests() => _table = new Lookaside(_memory, Sets);

    [Fact]
    public void Fill_KeyAndTag_AreBothAsked()
    {
        _table.Fill(0x1000, 5, 1);
        _table.Fill(0x1000, 6, 2);
        _table.Fill(0x1000, 5, 3);
        Assert.Equal((3UL, 2UL, 0UL, 0UL), (Find(0x1000, 5), Find(0x1000, 6), Find(0x1000, 7), Find(0x2000, 5)));
    }

    [Fact]
    public void Fill_MoreThanThereIsRoomFor_KeepsTheLastOfEachSet()
    {
        for (ulong i = 1; i <= 1000; i++) _table.Fill(i * 0x1000, 4, i);
        Assert.Equal(1000UL, Find(1000 * 0x1000, 4));
        var kept = Enumerable.Range(1, 1000).Count(i => Find((ulong)i * 0x1000, 4) == (ulong)i);
        Assert.Equal(Sets * Lookaside.Ways, kept);
    }

    [Fact]
    public void Drop_ForgetsAKeyWithAllTags()
    {
        _table.Fill(0x1000, 5, 1);
        _table.Fill(0x1000, 6, 2);
        _table.Fill(0x2000, 6, 3);
        _table.Drop(0x1000);
        Assert.Equal((0UL, 0UL, 3UL), (Find(0x1000, 5), Find(0x1000, 6), Find(0x2000, 6)));
    }

    [Fact]
    public void DropRegion_ForgetsWhatIsInIt()
    {
        _table.Fill(0x1FF123, 5, 1);
        _table.Fill(0x200000, 5, 2);
        _table.Fill(0x3FFFFF, 6, 3);
        _table.Fill(0x400000, 5, 4);
        _table.DropRegion(0x234567, 21);
        Assert.Equal((1UL, 0UL, 0UL, 4UL), (Find(0x1FF123, 5), Find(0x200000, 5), Find(0x3FFFFF, 6), Find(0x400000, 5)));
    }

    [Theory]
    [InlineData(0x90000, true), InlineData(0, false)]
    public void DropOdd_ForgetsWritesToAHostPage(int page, bool other)
    {
        // Values are what leads from the page to the host's: the sum tells.
        _table.Fill(0x1000, 5, 0x8F000);
        _table.Fill(0x1001, 5, 0x8F000);
        _table.Fill(0x2003, 5, 0x8F000);
        _table.DropOdd(page);
        Assert.Equal((true, false, other), (Find(0x1000, 5) != 0, Find(0x1001, 5) != 0, Find(0x2003, 5) != 0));
    }

    public void Dispose() => NativeMemory.Free(_memory);

    private ulong Find(ulong key, uint tag) => _table.TryFind(key, tag, out var value) ? value : 0;
}
