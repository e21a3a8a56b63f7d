using Iced.Intel;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Processors that come to the same code at once, while it is translated, linked and made hot: each does what it does alone.</summary>
public sealed class SharedTranslationTests
{
    private const int Functions = 64;

    public static TheoryData<int, int, bool> Crews => new()
    {
        { Crew.Interpreted, 2, true },
        { 0, 2, true },
        { 0, 4, true },
        { 0, 4, false },
        { 4, 3, true },
        { 4, 4, false },
        { 16, 4, true },
        { 16, 3, false },
    };

    [Theory, MemberData(nameof(Crews))]
    public void Library_CalledByAllAtOnce_DoesTheSameForEach(int translateAfter, int vcpus, bool alike)
    {
        for (var seed = 0; seed < 6; seed++) Check(seed, translateAfter, vcpus, 700, alike, meets: false);
    }

    [Theory]
    [InlineData(0, 2), InlineData(0, 3), InlineData(4, 2), InlineData(16, 2)]
    public void EachFunction_EnteredByAllInTheSameMoment_DoesTheSameForEach(int translateAfter, int vcpus)
    {
        for (var seed = 10; seed < 14; seed++) Check(seed, translateAfter, vcpus, 60, alike: true, meets: true);
    }

    [Theory]
    [InlineData(0), InlineData(4), InlineData(16)]
    public void LoopsOverOwnMemory_MadeHotByOne_AreRightForAll(int translateAfter)
    {
        // Each sums up numbers of its own, at an address of its own, at one that is all's (by its page tables), and by vectors; and writes sums there.
        const int elements = 512, rounds = 60;
        using var crew = new Crew(translateAfter, 4, a =>
        {
            Label round = a.CreateLabel(), element = a.CreateLabel();
            Crew.Meet(a);
            a.mov(ebp, rounds);
            a.Label(ref round);
            a.mov(ecx, elements);
            a.lea(rsi, __[rbx - 8]);
            a.Label(ref element);
            a.add(rdi, __qword_ptr[rsi + rcx * 8]);
            a.add(r8, __qword_ptr[rcx * 8 + (long)LibraryProgram.Same - 8]);
            a.movq(xmm1, __qword_ptr[rsi + rcx * 8]);
            a.paddq(xmm0, xmm1);
            a.add(__qword_ptr[rsi + rcx * 8 + 0x2000], rcx);
            a.fild(__qword_ptr[rsi + rcx * 8]);
            a.fistp(__qword_ptr[rsi + rcx * 8 + 0x4000]);
            a.dec(ecx);
            a.jne(element);
            a.dec(ebp);
            a.jne(round);
            a.movq(r10, xmm0);
        });
        crew.Separate();
        for (var i = 0; i < 4; i++)
        {
            crew.Write(Crew.EntryOf(i, LibraryProgram.Same), (Crew.OwnOf(i) + 0x8000) | 7);
            crew.Write(Crew.EntryOf(i, LibraryProgram.Same + 0x1000), (Crew.OwnOf(i) + 0x9000) | 7);
            for (ulong at = 0; at < elements; at++)
            {
                crew.Write(Crew.OwnOf(i) + at * 8, at + (ulong)i * 1000);
                crew.Write(Crew.OwnOf(i) + 0x8000 + at * 8, at * 3 + (ulong)i);
            }
        }

        crew.Run();
        for (var i = 0; i < 4; i++)
        {
            const long indexes = elements * (elements - 1) / 2;
            var own = (ulong)(rounds * (indexes + i * 1000 * elements));
            var gpr = crew.Members[i].Gpr;
            Assert.Equal((own, (ulong)(rounds * (indexes * 3 + i * elements)), own), (gpr[7], gpr[8], gpr[10]));
            for (ulong at = 0; at < elements; at++)
            {
                Assert.Equal(rounds * (at + 1), crew.Read<ulong>(Crew.OwnOf(i) + 0x2000 + at * 8));
                Assert.Equal(at + (ulong)i * 1000, crew.Read<ulong>(Crew.OwnOf(i) + 0x4000 + at * 8));
            }
        }
    }

    [Theory]
    [InlineData(0, false), InlineData(4, false), InlineData(16, false), InlineData(0, true), InlineData(4, true), InlineData(16, true)]
    public void ProcessorsThatStartLate_RunWhatOthersHaveMadeHot(int translateAfter, bool whileItRuns)
    {
        for (var seed = 20; seed < 24; seed++)
        {
            using var crew = new LibraryProgram(seed, Functions).Make(translateAfter, 4, 800, alike: true);
            using var oracle = new LibraryProgram(seed, Functions).Make(Crew.Interpreted, 4, 800, alike: true);
            crew.DoNotMeet();
            crew.Launch(0);
            if (whileItRuns) crew.WaitFor(() => crew.TranslatedBlocks > 30);
            else crew.Join();
            for (var i = 1; i < 4; i++) crew.Launch(i);
            crew.Join().AssertAlike(oracle);
        }
    }

    [Theory]
    [InlineData(0), InlineData(4), InlineData(16)]
    public void ProcessorStartedByAMessage_RunsWhatAnotherHasMadeHot(int translateAfter)
    {
        const uint apic = 0xFEE00000;
        const ulong again = 0xA000, message = 0x9000, registers = 0x7F800;
        using var crew = new LibraryProgram(30, Functions).Make(translateAfter, 2, 800, alike: true);
        using var oracle = new LibraryProgram(30, Functions).Make(Crew.Interpreted, 2, 800, alike: true);
        var (state, second) = (crew.Members[0], crew.Members[1]);
        crew.DoNotMeet();
        oracle.DoNotMeet();
        crew.Write(SystemGuest.Tables + 0x1018, 0xC0000083UL);
        crew.Place(again, 64, (a, _) =>
        {
            a.mov(r10d, apic);
            a.mov(__dword_ptr[r10 + 0xF0], 0x1FF);
            a.mov(__dword_ptr[r10 + 0x310], 1 << 24);
            a.mov(__dword_ptr[r10 + 0x300], 0x4500);
            a.mov(__dword_ptr[r10 + 0x300], 0x4609);
            a.xor(r10d, r10d);
            a.jmp(SystemGuest.Start);
        });

        // From real mode to 64 bits, and the registers that it would have got.
        crew.Place(message, 16, (a, _) =>
        {
            a.xor(ax, ax);
            a.mov(ds, ax);
            a.lgdt(__fword_ptr[(short)0x7F00]);
            a.mov(eax, (uint)second.Cr4);
            a.mov(cr4, eax);
            a.mov(eax, (uint)second.Cr3);
            a.mov(cr3, eax);
            a.mov(ecx, 0xC0000080);
            a.mov(eax, 0x901);
            a.xor(edx, edx);
            a.wrmsr();
            a.mov(eax, (uint)second.Cr0);
            a.mov(cr0, eax);
            a.db(0x66, 0xEA, 0x00, 0x91, 0x00, 0x00, (byte)SystemGuest.Code64, 0x00);
        });
        crew.Write<ushort>(0x7F00, 0xFFF);
        crew.Write(0x7F02, (uint)SystemGuest.Gdt);
        crew.Place(message + 0x100, 64, (a, _) =>
        {
            a.mov(eax, (int)SystemGuest.Data);
            a.mov(ds, ax);
            a.mov(es, ax);
            a.mov(ss, ax);
            a.fninit();
            a.mov(rsp, registers);
            foreach (var register in (AssemblerRegister64[])[rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15]) a.pop(register);
            a.pop(rsp);
            a.jmp(SystemGuest.Start);
        });
        ulong at = registers;
        foreach (var register in (int[])[0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 4])
        {
            crew.Write(at, second.Gpr[register]);
            at += 8;
        }

        // The second waits for its message from the beginning; the first sends it when its code is hot.
        crew.Launch(1, load: false);
        Run(oracle, 0);
        Run(oracle, 1);
        crew.Launch(0);
        crew.WaitFor(() => !crew.IsRunning(0));
        (state.Rip, state.MpState, state.Gpr[12]) = (again, MpState.Runnable, 800);
        crew.Launch(0);
        crew.Join();
        (oracle.Members[0].Rip, oracle.Members[0].MpState, oracle.Members[0].Gpr[12]) = (SystemGuest.Start, MpState.Runnable, 800);
        Run(oracle, 0);
        for (var i = 0; i < 2; i++) Assert.Equal(oracle.Members[i].Gpr, crew.Members[i].Gpr);
        byte[] expected = new byte[2 * Crew.OwnSize], actual = new byte[2 * Crew.OwnSize];
        Assert.True(oracle.Bus.Memory.TryRead(Crew.OwnOf(0), expected) && crew.Bus.Memory.TryRead(Crew.OwnOf(0), actual));
        Assert.Equal(expected, actual);
    }

    private static void Run(Crew crew, int member)
    {
        crew.Launch(member);
        crew.Join();
    }

    private static void Check(int seed, int translateAfter, int vcpus, int rounds, bool alike, bool meets)
    {
        using var crew = new LibraryProgram(seed, Functions, meets).Make(translateAfter, vcpus, rounds, alike);
        using var oracle = new LibraryProgram(seed, Functions, meets).Make(Crew.Interpreted, vcpus, rounds, alike);
        crew.Run().AssertAlike(oracle);
        if (translateAfter != Crew.Interpreted) Assert.InRange(crew.TranslatedBlocks, 50, long.MaxValue);
    }
}
