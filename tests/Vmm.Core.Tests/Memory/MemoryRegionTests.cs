using System.Runtime.InteropServices;
using Vmm.Core.Memory;

namespace Vmm.Core.Tests.Memory;

public class MemoryRegionTests
{
    [Fact]
    public void Allocate_New_IsZeroedAndPageAligned()
    {
        using var region = MemoryRegion.Allocate("ram", 0x10000, 0x3000);
        var bytes = new byte[0x3000];
        bytes.AsSpan().Fill(1);
        region.Read(0, bytes);
        Assert.All(bytes, b => Assert.Equal(0, b));
        Assert.Equal(0, region.HostAddress % MemoryRegion.PageSize);
        Assert.Equal(0x13000UL, region.End);
        Assert.Equal("000000010000-000000012fff Ram ram", region.ToString());
    }

    [Theory]
    [InlineData(1UL, 0x1000UL)]
    [InlineData(0UL, 0UL)]
    [InlineData(0UL, 0x1001UL)]
    [InlineData(1UL << 52, 0x1000UL)]
    [InlineData((1UL << 52) - 0x1000, 0x2000UL)]
    [InlineData(0UL, ulong.MaxValue - 0xFFF)]
    public void Allocate_UnalignedEmptyOrTooFar_Throws(ulong start, ulong length) => Assert.Throws<ArgumentException>(() => MemoryRegion.Allocate("x", start, length));

    [Fact]
    public void Allocate_LastPageOfTheSpace_Works()
    {
        using var region = MemoryRegion.Allocate("top", (1UL << 52) - 0x1000, 0x1000);
        Assert.Equal(1UL << 52, region.End);
    }

    [Theory]
    [InlineData(0x2000UL, 1)]
    [InlineData(0x1FFFUL, 2)]
    [InlineData(ulong.MaxValue, 1)]
    [InlineData(ulong.MaxValue, 0)]
    public void ReadWrite_OutsideTheRegion_Throws(ulong offset, int length)
    {
        using var region = MemoryRegion.Allocate("ram", 0, 0x2000);
        Assert.Throws<ArgumentOutOfRangeException>(() => region.Read(offset, new byte[length]));
        Assert.Throws<ArgumentOutOfRangeException>(() => region.Write(offset, new byte[length]));
    }

    [Fact]
    public void FromHost_LentMemory_IsSharedAndNotFreed()
    {
        using var owner = MemoryRegion.Allocate("owner", 0, 0x1000);
        using (var lent = MemoryRegion.FromHost("lent", 0x5000, 0x1000, owner.HostAddress)) lent.Write(0x10, [1, 2, 3]);
        var bytes = new byte[3];
        owner.Read(0x10, bytes);
        Assert.Equal([1, 2, 3], bytes);
        Assert.Throws<ArgumentException>(() => MemoryRegion.FromHost("x", 0, 0x1000, owner.HostAddress + 1));
        Assert.Throws<ArgumentException>(() => MemoryRegion.FromHost("x", 0, 0x1000, 0));
    }

    [Fact]
    public void Flags_SetAndClear_TellWhatTheyWere()
    {
        using var region = MemoryRegion.Allocate("ram", 0, 0x2000);
        Assert.Equal(PageFlags.None, region.SetFlags(1, PageFlags.Code));
        Assert.Equal(PageFlags.Code, region.SetFlags(1, PageFlags.Clean));
        Assert.Equal(PageFlags.Code | PageFlags.Clean, region.GetFlags(1));
        Assert.Equal(PageFlags.Code | PageFlags.Clean, region.ClearFlags(1, PageFlags.Clean));
        Assert.Equal(PageFlags.Code, region.GetFlags(1));
        Assert.Equal(PageFlags.None, region.GetFlags(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => region.GetFlags(2));
        Assert.Throws<ArgumentOutOfRangeException>(() => region.SetFlags(2, PageFlags.Code));
    }

    [Fact]
    public async Task Flags_ManyThreads_LoseNoBit()
    {
        using var region = MemoryRegion.Allocate("ram", 0, 0x1000);
        var wrongs = await Task.WhenAll(Task.Run(() => Toggle(PageFlags.Code)), Task.Run(() => Toggle(PageFlags.Clean)));
        Assert.Equal(0, wrongs.Sum());

        int Toggle(PageFlags flag)
        {
            var wrong = 0;
            for (var i = 0; i < 100_000; i++)
            {
                if (region.SetFlags(0, flag).HasFlag(flag)) wrong++;
                if (!region.ClearFlags(0, flag).HasFlag(flag)) wrong++;
            }

            return wrong;
        }
    }

    [Fact]
    public void Write_PageWithCode_TellsWatchersWhatWasWrittenOfEachPage()
    {
        using var region = MemoryRegion.Allocate("ram", 0x10000, 0x4000);
        var memory = new GuestMemory();
        memory.Add(region);
        var writes = new List<(ulong, uint)>();
        memory.CodeWritten += (gpa, length) => writes.Add((gpa, length));
        region.SetFlags(1, PageFlags.Code);
        region.SetFlags(2, PageFlags.Code | PageFlags.Clean);
        region.Write(0xFFF, [1]);
        Assert.Empty(writes);
        region.Write(0x1FFF, [1, 2, 3]);
        Assert.Equal([(0x11FFFUL, 1), (0x12000UL, 2)], writes);
        Assert.Equal(PageFlags.Code, region.GetFlags(2));
        Assert.True(memory.TryFill(0x11010, 0x2FF0, 9));
        Assert.Equal([(0x11010UL, 0xFF0), (0x12000UL, 0x1000)], writes[2..]);
    }

    [Fact]
    public void Dispose_Twice_IsFineAndUseThrows()
    {
        var region = MemoryRegion.Allocate("ram", 0, 0x1000);
        region.Dispose();
        region.Dispose();
        Assert.Throws<ObjectDisposedException>(() => region.Read(0, new byte[1]));
        Assert.Throws<ObjectDisposedException>(() => region.GetFlags(0));
    }

    [Fact]
    public void Struct_WriteAndRead_IsLittleEndian()
    {
        using var region = MemoryRegion.Allocate("ram", 0, 0x1000);
        var memory = new GuestMemory();
        memory.Add(region);
        Assert.True(memory.TryWrite(0x10, 0x11223344u));
        var bytes = new byte[4];
        memory.TryRead(0x10, bytes);
        Assert.Equal([0x44, 0x33, 0x22, 0x11], bytes);
        Assert.True(memory.TryWrite(0x20, new Pair { A = 1, B = 2 }));
        Assert.True(memory.TryRead(0x20, out Pair pair));
        Assert.Equal((1u, 2UL), (pair.A, pair.B));
    }

    [StructLayout(LayoutKind.Sequential, Pack = 1)]
    private struct Pair
    {
        public uint A;
        public ulong B;
    }
}
