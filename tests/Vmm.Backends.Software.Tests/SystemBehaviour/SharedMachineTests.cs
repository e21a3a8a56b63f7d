using System.Diagnostics;
using Iced.Intel;
using Vmm.Backends.Software.Translate;
using Vmm.Core.Memory;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>What a machine's owner does while several processors run code that is hot.</summary>
public sealed class SharedMachineTests
{
    private static readonly int[] s_thresholds = [0, 4, 16];

    public static MatrixTheoryData<int, HostDisturbance> Disturbances => new(s_thresholds, Enum.GetValues<HostDisturbance>());

    [Theory, MemberData(nameof(Disturbances))]
    public void WhatAHostDoes_IsNotSeenByThoseThatRun(int translateAfter, HostDisturbance disturbance)
    {
        const int functions = 64, rounds = 3000, most = 200;
        var library = new LibraryProgram(1, functions);
        using var more = MemoryRegion.Allocate("more", 0x1000000, 1 << 20);
        using var crew = library.Make(translateAfter, 3, rounds, alike: false);
        using var oracle = new LibraryProgram(1, functions).Make(Crew.Interpreted, 3, rounds, alike: false);
        var random = new Random(1);
        for (var i = 0; i < 3; i++) crew.Launch(i);
        var done = 0;
        for (; done < most && Enumerable.Range(0, 3).Any(crew.IsRunning); done++) disturbance.Do(crew, library, more, random);
        crew.Join().AssertAlike(oracle);
        Assert.InRange(done, 1, most);
    }

    [Theory]
    [InlineData(Crew.Interpreted), InlineData(0), InlineData(4), InlineData(16)]
    public void MemoryWithCode_ExchangedForOther_HasItsOwnCode(int translateAfter)
    {
        const ulong memory = 0x800000, function = memory + 0x1000, version = 0x75000, last = 0x75040, answers = 0x75100;
        const int vcpus = 3, calls = 100, versions = 50, regions = 3;
        var enough = TimeSpan.FromSeconds(1);
        var others = new MemoryRegion[regions];
        for (var i = 0; i < regions; i++)
        {
            others[i] = MemoryRegion.Allocate($"code {i}", memory, 0x10000);
            // MOV EAX, n; RET.
            others[i].Write(function - memory, [0xB8, (byte)i, 0, 0, 0, 0xC3]);
        }

        // EDI counts what was wrong.
        using (var crew = new Crew(translateAfter, vcpus, a =>
        {
            Label again = a.CreateLabel(), wait = a.CreateLabel(), seen = a.CreateLabel(), exact = a.CreateLabel(), right = a.CreateLabel();
            a.Label(ref again);
            a.inc(ebp);
            a.Label(ref wait);
            a.cmp(__dword_ptr[version], ebp);
            a.je(seen);
            a.@out(Crew.Yield, al);
            a.jmp(wait);
            a.Label(ref seen);
            a.xor(eax, eax);
            a.cpuid();
            a.mov(eax, ebp);
            a.xor(edx, edx);
            a.mov(ecx, regions);
            a.div(ecx);
            a.mov(r11d, calls);
            a.mov(rsi, function);
            a.Label(ref exact);
            a.call(rsi);
            a.cmp(eax, edx);
            a.je(right);
            a.inc(edi);
            a.Label(ref right);
            a.dec(r11d);
            a.jne(exact);
            a.mov(__dword_ptr[r15 * 8 + (long)answers], ebp);
            a.cmp(__dword_ptr[last], ebp);
            a.jne(again);
        }))
        {
            crew.Write(SystemGuest.Tables + 0x2020, memory | 0x87);
            foreach (var member in crew.Members) (member.Gpr[5], member.Gpr[7]) = (0, 0);
            for (var i = 0; i < vcpus; i++) crew.Launch(i);
            var watch = Stopwatch.StartNew();
            for (int i = 1, end = versions; i <= end; i++)
            {
                if (watch.Elapsed > enough) end = i;
                if (i == end) crew.Write(last, i);
                if (i > 1) Assert.True(crew.Bus.Memory.Remove(others[(i - 1) % regions]));
                crew.Bus.Memory.Add(others[i % regions]);
                crew.Write(version, i);
                crew.WaitFor(() => Enumerable.Range(0, vcpus).All(m => crew.Read<int>(answers + (ulong)m * 8) == i));
            }

            crew.Join();
            foreach (var member in crew.Members)
            {
                Assert.Equal(0UL, member.Gpr[7]);
                Assert.InRange(member.Gpr[5], 2UL, (ulong)versions);
            }
        }

        foreach (var region in others) region.Dispose();
    }

    [Theory]
    [InlineData(0), InlineData(4), InlineData(16)]
    public void MachinesThatEnd_WhileTheirCodeIsHot_LeaveNothingToOthers(int translateAfter)
    {
        const int functions = 64;
        for (var seed = 0; seed < 12; seed++)
        {
            using var crew = new LibraryProgram(seed, functions).Make(translateAfter, 4, int.MaxValue, alike: true, seed % 2 == 0 ? Cramped.CodePart : CodeMemory.DefaultPart);
            for (var i = 0; i < 4; i++) crew.Launch(i);
            crew.WaitFor(() => crew.TranslatedBlocks > seed * 8);
            if (seed % 3 == 0) foreach (var cpu in crew.Partition.Processors) cpu.RequestFullFlush();
            crew.Dismiss();
            Assert.All(crew.Members, m => Assert.InRange(m.Gpr[12], 1UL, (ulong)int.MaxValue));
        }

        // In memory that those before have left.
        using var last = new LibraryProgram(1, functions).Make(translateAfter, 4, 500, alike: false);
        using var oracle = new LibraryProgram(1, functions).Make(Crew.Interpreted, 4, 500, alike: false);
        last.Run().AssertAlike(oracle);
    }
}
