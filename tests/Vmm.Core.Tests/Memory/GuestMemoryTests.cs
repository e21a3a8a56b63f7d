using FsCheck.Xunit;
using Vmm.Core.Memory;

namespace Vmm.Core.Tests.Memory;

public sealed class GuestMemoryTests : IDisposable
{
    private const ulong Page = MemoryRegion.PageSize;

    // 0-1 RAM, 2 ROM, 3 hole, 4-5 RAM, 6-7 RAM of another region, 8 hole, then one page at 4 GiB.
    private readonly MemoryRegion[] _regions =
    [
        MemoryRegion.Allocate("a", 0, 2 * Page), MemoryRegion.Allocate("rom", 2 * Page, Page, MemoryRegionKind.Rom),
        MemoryRegion.Allocate("b", 4 * Page, 2 * Page), MemoryRegion.Allocate("c", 6 * Page, 2 * Page), MemoryRegion.Allocate("high", 1UL << 32, Page),
    ];

    private readonly GuestMemory _memory = new();

    public GuestMemoryTests()
    {
        // In an order that is not that of the addresses.
        foreach (var index in new[] { 3, 0, 4, 2, 1 }) _memory.Add(_regions[index]);
    }

    public void Dispose()
    {
        foreach (var region in _regions) region.Dispose();
    }

    private static bool IsModelRam(ulong page) => page is 0 or 1 or 4 or 5 or 6 or 7 or (1UL << 32) / Page;

    private static bool IsModelMemory(ulong page) => page == 2 || IsModelRam(page);

    [Fact]
    public void Regions_AreSorted()
    {
        Assert.Equal(["a", "rom", "b", "c", "high"], _memory.Regions.Select(r => r.Name));
        Assert.Equal(7 * Page, _memory.RamSize);
    }

    [Fact]
    public void Add_OverlapOrSameName_Throws()
    {
        using var overlapping = MemoryRegion.Allocate("x", 3 * Page, 2 * Page);
        using var inside = MemoryRegion.Allocate("y", Page, Page);
        using var around = MemoryRegion.Allocate("z", 3 * Page, 100 * Page);
        using var named = MemoryRegion.Allocate("rom", 20 * Page, Page);
        foreach (var region in new[] { overlapping, inside, around, named }) Assert.Throws<ArgumentException>(() => _memory.Add(region));
        Assert.Equal(5, _memory.Regions.Length);
    }

    [Fact]
    public void AddAndRemove_TellListeners()
    {
        var events = new List<string>();
        _memory.RegionAdded += r => events.Add("+" + r.Name);
        _memory.RegionRemoved += r => events.Add("-" + r.Name);
        Assert.True(_memory.Remove(_regions[2]));
        Assert.False(_memory.Remove(_regions[2]));
        Assert.Null(_memory.Find(4 * Page));
        _memory.Add(_regions[2]);
        Assert.Equal(["-b", "+b"], events);
    }

    [Fact]
    public void Find_EachAddress_IsTheRegionThatHoldsIt()
    {
        for (ulong gpa = 0; gpa < 10 * Page; gpa += Page / 4)
        {
            Assert.Equal(_regions.SingleOrDefault(r => gpa >= r.Start && gpa < r.End), _memory.Find(gpa));
        }

        Assert.Null(_memory.Find(ulong.MaxValue));
        Assert.Same(_regions[4], _memory.Find((1UL << 32) + Page - 1));
    }

    [Fact]
    public void TryWrite_AcrossTwoRegions_IsOnePiece()
    {
        var bytes = Enumerable.Range(0, 200).Select(i => (byte)i).ToArray();
        Assert.True(_memory.TryWrite(6 * Page - 100, bytes));
        var read = new byte[200];
        Assert.True(_memory.TryRead(6 * Page - 100, read));
        Assert.Equal(bytes, read);
        Assert.True(_memory.TryWrite(6 * Page - 4, 0x1122334455667788UL));
        Assert.True(_memory.TryRead(6 * Page - 4, out ulong value));
        Assert.Equal(0x1122334455667788UL, value);
    }

    [Fact]
    public void TryWrite_IntoRomOrHole_WritesNothing()
    {
        Assert.False(_memory.TryWrite(2 * Page - 2, 0xFFFFFFFFu));
        Assert.True(_memory.TryRead(2 * Page - 2, out ushort before));
        Assert.Equal(0, before);
        Assert.False(_memory.TryFill(7 * Page, 2 * Page, 1));
        Assert.True(_memory.TryRead(7 * Page, out byte first));
        Assert.Equal(0, first);
        Assert.True(_memory.TryRead(2 * Page, out ulong _));
    }

    [Theory]
    [InlineData(ulong.MaxValue, 8)]
    [InlineData(ulong.MaxValue - 3, 8)]
    [InlineData(0x8000_0000_0000_0000, 1)]
    public void Try_AtTheEndOfTheAddressSpace_IsFalse(ulong gpa, int length)
    {
        Assert.False(_memory.TryRead(gpa, new byte[length]));
        Assert.False(_memory.TryWrite(gpa, new byte[length]));
        Assert.False(_memory.TryFill(gpa, (ulong)length, 0));
        Assert.False(_memory.TryRead(gpa, out ulong _));
        Assert.False(_memory.TryWrite(gpa, 0UL));
        Assert.False(_memory.IsRam(gpa, ulong.MaxValue));
    }

    [Fact]
    public void Try_WrappingAroundTheAddressSpace_IsFalse()
    {
        // Page 0 is RAM: a range that starts at the top must not come out at the bottom.
        Assert.False(_memory.IsRam(ulong.MaxValue - Page + 1, 2 * Page));
        Assert.False(_memory.IsRam(0, ulong.MaxValue));
    }

    [Fact]
    public void Try_Empty_IsTrueAnywhere()
    {
        Assert.True(_memory.TryRead(3 * Page, []));
        Assert.True(_memory.TryWrite(3 * Page, []));
        Assert.True(_memory.IsRam(3 * Page, 0));
    }

    [Property(MaxTest = 500)]
    public void Try_AnyRange_AgreesWithTheModel(ushort at, ushort size, byte value)
    {
        var gpa = (ulong)at % (10 * Page);
        var length = (ulong)size % (4 * Page);
        bool ram = true, all = true;
        for (var page = gpa / Page; length > 0 && page <= (gpa + length - 1) / Page; page++) (ram, all) = (ram && IsModelRam(page), all && IsModelMemory(page));
        Assert.Equal(ram, _memory.IsRam(gpa, length));
        Assert.Equal(all, _memory.TryRead(gpa, new byte[length]));
        var source = new byte[length];
        source.AsSpan().Fill(value);
        var before = Everything();
        Assert.Equal(ram, _memory.TryWrite(gpa, source));
        var after = Everything();
        for (ulong i = 0; i < 10 * Page; i++)
        {
            var expected = ram && i >= gpa && i < gpa + length ? value : before[i];
            if (after[i] != expected) Assert.Fail($"0x{i:x}: {after[i]}, not {expected}");
        }

        Assert.Equal(ram, _memory.TryFill(gpa, length, (byte)~value));
    }

    private byte[] Everything()
    {
        var bytes = new byte[10 * Page];
        foreach (var region in _regions[..4]) region.Read(0, bytes.AsSpan((int)region.Start, (int)region.Length));
        return bytes;
    }
}
