using System.Runtime.InteropServices;
using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using Vmm.Core.Memory;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>Guest-physical memory: regions that come and go, read-only and lent ones, edges, and the dirty log.</summary>
public abstract class MemoryTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private const ulong Extra = 0x1000_0000;

    [Fact]
    public void Ram_IsSharedByHostAndGuest()
    {
        var guest = Guest(64, a => { a.mov(rax, __qword_ptr[rsi]); a.not(rax); a.mov(__qword_ptr[rsi + 8], rax); });
        guest[6] = GuestTables.Data;
        guest.Write(GuestTables.Data, 0x0123_4567_89AB_CDEFUL);
        guest.RunToEnd();
        Assert.Equal(0xFEDC_BA98_7654_3210UL, guest.Read<ulong>(GuestTables.Data + 8));
    }

    [Fact]
    public void Region_AddedAfterARun_IsThere()
    {
        var guest = LoadAndStore();
        guest.RunToEnd();
        Assert.Equal((ulong)uint.MaxValue, guest[0]);
        Add(guest, "late", Extra, 0x2000);
        guest.Write(Extra, 0x1234_5678);
        guest.GoTo(GuestTables.Program).RunToEnd();
        Assert.Equal((0x1234_5678UL, 0x1234_5678u), (guest[0], guest.Read<uint>(Extra + 8)));
    }

    [Fact]
    public void Region_Removed_IsUnbackedAtOnce()
    {
        var guest = LoadAndStore();
        var region = Add(guest, "leaving", Extra, 0x2000);
        guest.Write(Extra, 0x1234_5678);
        guest.RunToEnd();
        Assert.Equal(0x1234_5678UL, guest[0]);
        Assert.True(guest.Memory.Remove(region));
        guest.GoTo(GuestTables.Program).RunToEnd();
        Assert.Equal((ulong)uint.MaxValue, guest[0]);
        Assert.Equal(2, guest.Bus.Mmio.Unclaimed);
        Dispose(region);
    }

    [Fact]
    public void Region_Replaced_ShowsTheNewContents()
    {
        var guest = LoadAndStore();
        var first = Add(guest, "first", Extra, 0x1000);
        guest.Write(Extra, 1);
        guest.RunToEnd();
        guest.Memory.Remove(first);
        Add(guest, "second", Extra, 0x1000);
        guest.Write(Extra, 2);
        guest.GoTo(GuestTables.Program).RunToEnd();
        Assert.Equal(2UL, guest[0]);
        Dispose(first);
    }

    [Fact]
    public void Region_MovedWhileTheGuestRuns_IsSeen()
    {
        // The guest polls an address until memory appears there, then until it is gone.
        var guest = Guest(64, a =>
        {
            var (appear, vanish) = (a.CreateLabel(), a.CreateLabel());
            a.Label(ref appear);
            a.cmp(__byte_ptr[rsi], 0x55);
            a.jne(appear);
            a.Signal();
            a.Label(ref vanish);
            a.cmp(__byte_ptr[rsi], 0x55);
            a.je(vanish);
        });
        guest[6] = Extra;
        using var appeared = new ManualResetEventSlim();
        guest.OnSignal = _ => appeared.Set();
        var run = guest.Start();
        var region = MemoryRegion.Allocate("visitor", Extra, 0x1000);
        region.Write(0, [0x55]);
        guest.Memory.Add(region);
        Assert.True(appeared.Wait(TestGuest.Patience));
        guest.Memory.Remove(region);
        Assert.Equal(EndKind.Exit, run.Result.Kind);
        Dispose(region);
    }

    [Fact]
    public void Regions_AHundred_AreAllMapped()
    {
        var guest = Guest(64, a =>
        {
            var loop = a.CreateLabel();
            a.xor(eax, eax);
            a.Label(ref loop);
            a.add(eax, __dword_ptr[rsi]);
            a.add(rsi, 0x2000);
            a.dec(ecx);
            a.jne(loop);
        });
        (guest[1], guest[6]) = (100, Extra);
        for (uint i = 0; i < 100; i++)
        {
            Add(guest, $"part{i}", Extra + i * 0x2000, 0x1000);
            guest.Write(Extra + i * 0x2000, i);
        }

        guest.RunToEnd();
        Assert.Equal(4950UL, guest[0]);
    }

    [Fact]
    public void Rom_IsReadAndExecuted_ButNotWritten()
    {
        var guest = Guest(64, a => { a.mov(eax, __dword_ptr[rsi]); a.mov(__dword_ptr[rsi], ecx); a.mov(edx, __dword_ptr[rsi]); a.call(rdi); });
        var rom = Add(guest, "rom", Extra, 0x1000, MemoryRegionKind.Rom);
        rom.Write(0, [0x78, 0x56, 0x34, 0x12]);
        // mov ebx, 7; ret
        rom.Write(0x100, [0xBB, 7, 0, 0, 0, 0xC3]);
        (guest[1], guest[6], guest[7]) = (99, Extra, Extra + 0x100);
        guest.RunToEnd();
        Assert.Equal((0x1234_5678UL, 0x1234_5678UL, 7UL), (guest[0], guest[2], guest[3]));
        Assert.Equal(1, guest.Bus.Mmio.Unclaimed);
    }

    [Fact]
    public void Rom_HostsWrite_IsSeenByTheGuest()
    {
        var guest = Guest(64, a => { a.mov(eax, __dword_ptr[rsi]); a.Signal(); a.mov(ecx, __dword_ptr[rsi]); });
        var rom = Add(guest, "rom", Extra, 0x1000, MemoryRegionKind.Rom);
        guest[6] = Extra;
        guest.OnSignal = _ => rom.Write(0, [9, 0, 0, 0]);
        guest.RunToEnd();
        Assert.Equal((0UL, 9UL), (guest[0], guest[1]));
    }

    [Fact]
    public unsafe void CallersMemory_IsTheGuests()
    {
        var memory = (byte*)NativeMemory.AlignedAlloc(0x2000, 0x1000);
        try
        {
            new Span<byte>(memory, 0x2000).Clear();
            memory[0x1000] = 0x42;
            using var guest = Guest(64, a => { a.mov(al, __byte_ptr[rsi + 0x1000]); a.inc(al); a.mov(__byte_ptr[rsi + 0x1FFF], al); });
            guest.Memory.Add(MemoryRegion.FromHost("lent", Extra, 0x2000, (nint)memory));
            guest[6] = Extra;
            guest.RunToEnd();
            Assert.Equal(0x43, memory[0x1FFF]);
        }
        finally
        {
            NativeMemory.AlignedFree(memory);
        }
    }

    [Theory, InlineData(2), InlineData(4), InlineData(8)]
    public void TwoRegions_AccessAcrossTheirEdge_IsWhole(int size)
    {
        var guest = Guest(64, a =>
        {
            if (size == 2) { a.mov(ax, __word_ptr[rsi]); a.mov(__word_ptr[rdi], ax); }
            else if (size == 4) { a.mov(eax, __dword_ptr[rsi]); a.mov(__dword_ptr[rdi], eax); }
            else { a.mov(rax, __qword_ptr[rsi]); a.mov(__qword_ptr[rdi], rax); }
        });
        Add(guest, "low", Extra, 0x2000);
        Add(guest, "high", Extra + 0x2000, 0x2000);
        Add(guest, "third", Extra + 0x4000, 0x1000);
        (guest[6], guest[7]) = (Extra + 0x2001 - (ulong)size, Extra + 0x4001 - (ulong)size);
        for (var i = 0; i < size; i++) guest.Write(guest[6] + (ulong)i, (byte)(i + 1));
        guest.RunToEnd();
        Assert.Equal(Enumerable.Range(1, size).Select(i => (byte)i), guest.Read(guest[7], size));
    }

    [Fact]
    public void TwoRegions_CodeAcrossTheirEdge_Runs()
    {
        var guest = Guest(64, a => a.call(rdi));
        Add(guest, "low", Extra, 0x1000);
        Add(guest, "high", Extra + 0x1000, 0x1000);
        // mov ebx, 0x12345678 with its immediate in the second region; ret
        guest.Write(Extra + 0xFFD, [0xBB, 0x78, 0x56, 0x34, 0x12, 0xC3]);
        guest[7] = Extra + 0xFFD;
        guest.RunToEnd();
        Assert.Equal(0x1234_5678UL, guest[3]);
    }

    [Fact]
    public void RamsEnd_LoadAcrossIt_GivesOnesBehind()
    {
        var guest = Guest(64, a => { a.mov(eax, __dword_ptr[rsi]); a.mov(__dword_ptr[rsi], ecx); });
        Add(guest, "end", Extra, 0x1000);
        guest.Write<ushort>(Extra + 0xFFE, 0x1234);
        (guest[1], guest[6]) = (0x5566_7788, Extra + 0xFFE);
        guest.RunToEnd();
        Assert.Equal(0xFFFF_1234UL, guest[0]);
        Assert.Equal(0x7788, guest.Read<ushort>(Extra + 0xFFE));
    }

    [Fact]
    public void Ram_CoversADevice()
    {
        var guest = LoadAndStore();
        var device = guest.Mmio(Extra, 0x1000);
        Add(guest, "over", Extra, 0x1000);
        guest.Write(Extra, 5);
        guest.RunToEnd();
        Assert.Equal(5UL, guest[0]);
        Assert.Empty(device.Accesses);
    }

    [Fact]
    public void HostsWrite_WhileTheGuestPolls_IsSeen()
    {
        var guest = Guest(64, a =>
        {
            var loop = a.CreateLabel();
            a.Signal();
            a.Label(ref loop);
            a.cmp(__dword_ptr[rsi], 0);
            a.je(loop);
        });
        guest[6] = GuestTables.Data;
        using var polling = new ManualResetEventSlim();
        guest.OnSignal = _ => polling.Set();
        var run = guest.Start();
        Assert.True(polling.Wait(TestGuest.Patience));
        guest.Write(GuestTables.Data, 1);
        Assert.Equal(EndKind.Exit, run.Result.Kind);
    }

    [Fact]
    public void Code_RewrittenByTheHostBetweenRuns_IsTheNewCode()
    {
        var guest = Guest(64, a => a.mov(eax, 1));
        guest.RunToEnd();
        Assert.Equal(1UL, guest[0]);
        guest.Place(GuestTables.Program, a => a.mov(eax, 2));
        guest.GoTo(GuestTables.Program).RunToEnd();
        Assert.Equal(2UL, guest[0]);
    }

    [Fact]
    public void Code_RewrittenByItself_IsTheNewCode()
    {
        var guest = Guest(64, (a, at) => { a.mov(__dword_ptr[rsi], 0x77); at("target"); a.mov(eax, 1); });
        guest[6] = guest["target"] + 2;
        guest.RunToEnd();
        Assert.Equal(0x77UL, guest[0]);
    }

    [Fact]
    public void DirtyLog_HoldsExactlyThePagesWritten()
    {
        Need(HypervisorCapabilities.DirtyLog);
        var guest = Guest(64, a =>
        {
            a.mov(eax, __dword_ptr[rsi]);
            a.mov(__byte_ptr[rsi + 0x3000], 1);
            a.mov(__qword_ptr[rsi + 0x6FFC], rax);
            a.mov(__byte_ptr[rsi + 0x41000], 1);
        });
        var region = Add(guest, "logged", Extra, 0x100000);
        guest[6] = Extra;
        guest.Write(Extra + 0x9000, 1);
        guest.Partition.SetDirtyLog(region, true);
        guest.RunToEnd();
        Assert.Equal([3, 6, 7, 65], Collect(guest, region));
        Assert.Empty(Collect(guest, region));
        guest.Partition.SetDirtyLog(region, false);
    }

    [Fact]
    public void DirtyLog_PageWrittenAgain_IsLoggedAgain()
    {
        Need(HypervisorCapabilities.DirtyLog);
        var guest = Guest(64, a => a.mov(__byte_ptr[rsi + 0x3000], 1));
        var region = Add(guest, "logged", Extra, 0x10000);
        guest[6] = Extra;
        guest.Partition.SetDirtyLog(region, true);
        for (var i = 0; i < 3; i++)
        {
            guest.GoTo(GuestTables.Program).RunToEnd();
            Assert.Equal([3], Collect(guest, region));
        }
    }

    [Fact]
    public void DirtyLog_HostsWrites_AreLogged()
    {
        Need(HypervisorCapabilities.DirtyLog);
        var guest = Guest(64, a => a.nop());
        var region = Add(guest, "logged", Extra, 0x10000);
        guest.Partition.SetDirtyLog(region, true);
        guest.Write(Extra + 0x5000, 1);
        region.Write(0x8FFF, [1, 2]);
        Assert.Equal([5, 8, 9], Collect(guest, region));
    }

    [Fact]
    public void DirtyLog_CollectionAddsToTheBitmap()
    {
        Need(HypervisorCapabilities.DirtyLog);
        var guest = Guest(64, a => a.mov(__byte_ptr[rsi + 0x3000], 1));
        var region = Add(guest, "logged", Extra, 0x10000);
        guest[6] = Extra;
        guest.Partition.SetDirtyLog(region, true);
        guest.RunToEnd();
        var pages = new ulong[] { 1UL << 12 };
        guest.Partition.CollectDirty(region, pages);
        Assert.Equal(1UL << 12 | 8, pages[0]);
    }

    [Fact]
    public void DirtyLog_WritesWhileCollecting_AreNeverLost()
    {
        // The guest writes one page after the other, over and over; what it has written is in some collection.
        Need(HypervisorCapabilities.DirtyLog);
        var guest = Guest(64, a =>
        {
            var loop = a.CreateLabel();
            a.Label(ref loop);
            a.mov(rdi, rcx);
            a.and(edi, 63);
            a.shl(edi, 12);
            a.inc(__dword_ptr[rsi + rdi]);
            a.dec(rcx);
            a.jne(loop);
        });
        var region = Add(guest, "logged", Extra, 64 << 12);
        (guest[1], guest[6]) = (64 * 500, Extra);
        guest.Partition.SetDirtyLog(region, true);
        var shadow = new byte[64 << 12];
        var run = guest.Start();
        while (!run.IsCompleted) Mirror();
        Assert.Equal(EndKind.Exit, run.Result.Kind);
        Mirror();
        Mirror();
        Assert.Equal(guest.Read(Extra, 64 << 12), shadow);

        // As live migration does: what is dirty is copied, after the log was collected.
        void Mirror()
        {
            foreach (var page in Collect(guest, region)) region.Read((ulong)page << 12, shadow.AsSpan(page << 12, 0x1000));
        }
    }

    private TestGuest LoadAndStore()
    {
        var guest = Guest(64, a => { a.mov(eax, __dword_ptr[rsi]); a.mov(__dword_ptr[rsi + 8], eax); });
        guest[6] = Extra;
        return guest;
    }

    private static MemoryRegion Add(TestGuest guest, string name, ulong start, ulong length, MemoryRegionKind kind = MemoryRegionKind.Ram)
    {
        var region = MemoryRegion.Allocate(name, start, length, kind);
        guest.Memory.Add(region);
        return region;
    }

    private static int[] Collect(TestGuest guest, MemoryRegion region)
    {
        var pages = new ulong[(region.Length / MemoryRegion.PageSize + 63) / 64];
        guest.Partition.CollectDirty(region, pages);
        return [.. Enumerable.Range(0, pages.Length * 64).Where(i => (pages[i / 64] >> (i % 64) & 1) != 0)];
    }
}
