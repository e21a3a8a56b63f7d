using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Tables that one processor leaves to another have nothing of its guest.</summary>
public sealed unsafe class VcpuTablesTests
{
    private readonly Op[] _ops = new Op[8];
    private readonly byte[] _code = new byte[64];

    // Jumps within and beyond what is known one by one; pages within and beyond the TLB.
    [Theory]
    [InlineData(3, 5)]
    [InlineData(60, 200)]
    [InlineData(200, 5000)]
    public void Recycle_AfterUse_IsLikeNew(int blocks, int pages)
    {
        if (!OperatingSystem.IsLinux()) Assert.Skip("Only Linux gives pages back that are zero afterwards.");
        var tables = new VcpuTables();
        Use(tables, blocks, pages);
        Assert.True(tables.TryRecycle());

        // SAFETY: the ring is the last of the processor's memory.
        var all = new ReadOnlySpan<byte>(tables.Memory.Base, (int)(tables.Memory.Ring + BlockCache.RingBytes - tables.Memory.Base));
        Assert.Equal(-1, all.IndexOfAnyExcept((byte)0));
        for (var i = 0; i < pages; i++)
        {
            var linear = Linear(i);
            for (var set = 0; set < Tlb.Sets; set++)
            {
                Assert.False(tables.Tlb.Reads(set)[Tlb.Slot(linear)].Covers(linear, 0) || tables.Tlb.Writes(set)[Tlb.Slot(linear)].Covers(linear, 0));
                Assert.False(tables.Tlb.TryRefill(set, true, linear) || tables.Tlb.TryRefill(set, false, linear));
            }

            Assert.False(tables.Tlb.TryFetch(false, linear, out _, out _) || tables.Tlb.TryFetch(true, linear, out _, out _));
        }

        for (var i = 0UL; i < (ulong)blocks; i++)
        {
            Assert.True(tables.Blocks.Find(i * 64, CpuMode.Code32) == null && tables.Blocks.Find(i * 64, CpuMode.Code64) == null);
            Assert.True(tables.Blocks.FirstInPage(i * 64) == null);
        }

        // And they are of use again.
        Use(tables, blocks, pages);
        Assert.True(tables.TryRecycle());
        Assert.Equal(-1, all.IndexOfAnyExcept((byte)0));
        tables.Memory.Dispose();
        tables.Blocks.Dispose();
    }

    [Fact]
    public void Recycle_AfterMuch_IsRefused()
    {
        var tables = new VcpuTables();
        Use(tables, 100_000, 1);
        Assert.False(tables.TryRecycle());
        tables.Blocks.Dispose();
        tables.Memory.Dispose();
    }

    [Fact]
    public void Pool_HoldsAFewAndGivesEachOnce()
    {
        var pool = new VcpuTablesPool();
        var made = new List<VcpuTables>();
        for (var i = 0; i <= VcpuTablesPool.Size; i++) made.Add(new VcpuTables());
        Assert.Equal([.. Enumerable.Repeat(true, VcpuTablesPool.Size), false], made.Select(pool.TryKeep));
        var inHands = new int[made.Count];
        Parallel.For(0, 20_000, _ =>
        {
            if (pool.Take() is not { } tables) return;
            ref var hands = ref inHands[made.IndexOf(tables)];
            Assert.Equal(1, Interlocked.Increment(ref hands));
            Interlocked.Decrement(ref hands);
            Assert.True(pool.TryKeep(tables));
        });
        var taken = new HashSet<VcpuTables>();
        while (pool.Take() is { } tables) Assert.True(taken.Add(tables));
        Assert.Equal(made[..VcpuTablesPool.Size].ToHashSet(), taken);
        foreach (var tables in made) tables.Memory.Dispose();
    }

    // The same addresses hold other code, other data and other page tables in each.
    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void MachinesInTurns_SeeTheirOwnMemory(int bitness)
    {
        Parallel.For(0, 200, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
        {
            using var guest = new SystemGuest<Interpreted>(bitness, (a, _) =>
            {
                a.mov(eax, i * 3);
                a.mov(ebx, __dword_ptr[0x7F00]);
                a.mov(__dword_ptr[0x7F08], eax);
                a.hlt();
            });
            guest.Write(0x7F00, i * 5);
            Assert.Equal(Core.Backends.VcpuStopKind.Halted, guest.Run().Kind);
            Assert.Equal((i * 3, i * 5, i * 3), ((int)guest[0], (int)guest[3], guest.Read<int>(0x7F08)));
            Assert.Equal(0UL, guest[1] | guest[2] & ~0xFFFFUL | guest.State.Cr2);
        });
    }

    private void Use(VcpuTables tables, int blocks, int pages)
    {
        // SAFETY: a page lies between the base and the TLBs.
        new Span<byte>(tables.Memory.Base, VcpuMemory.TlbOffset).Fill(0xA5);
        tables.Memory.State->Translator.TlbJournaled = 0;
        tables.Blocks.Begin(translates: true);
        for (var i = 0UL; i < (ulong)blocks; i++)
        {
            tables.Blocks.AddJump(i << CpuMode.Bits | CpuMode.Code32, tables.Blocks.Add(i * 64, 1UL << (int)(i % 64), CpuMode.Code32, _ops.Length - 1, 64, _code, _ops));
            if (i < 50) tables.Blocks.Add(i * 64, 1UL << (int)(i % 64), CpuMode.Code64, _ops.Length - 1, 64, _code, _ops, i % 2 == 0 ? 0 : (i + 1) << 12);
        }

        tables.Blocks.Drop(64, ulong.MaxValue);
        for (var i = 0; i < pages; i++)
        {
            var linear = Linear(i);
            tables.Tlb.Fill(i % 3, i % 2 == 0, linear, 0x1234_5000 + (i << 12), (long)linear < 0);
            tables.Tlb.FillFetch(i % 5 == 0, linear, (ulong)i << 12, i % 7 == 0);
            tables.Tlb.NoteLarge(linear, 21);
            if (i == pages / 2) tables.Spaces.Switch(1, 2, true);
            if (i == pages / 2) tables.Tlb.FlushAll();
        }
    }

    private static ulong Linear(int i) => (i % 4 == 0 ? 0xFFFF_8000_0000_0000 : 0) + ((ulong)i * 0x3_7000);
}
