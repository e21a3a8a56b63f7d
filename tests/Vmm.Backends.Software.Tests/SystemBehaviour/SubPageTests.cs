using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Writes into pages with code: what they meet is dropped, and nothing else is.</summary>
public sealed class SubPageTests
{
    private const ulong Page = 0x70000;

    // By how they are run, with the first slices small enough to be in every block.
    public static TheoryData<int, bool, ulong> Seeds => new(Enumerable.Range(0, 24).Select(seed => (seed, seed % 2 == 0, (ulong)(seed % 3 * 40))));

    [Theory, MemberData(nameof(Seeds))]
    public void RandomPatches_BesideRunningCode_AreExecuted(int seed, bool warmed, ulong slice)
    {
        var program = new PatchProgram(new Random(seed), 4000);
        var nanoseconds = slice == 0 ? 0 : 1;
        using var interpreted = new SystemGuest<Interpreted>(64, PatchProgram.Write, nanosecondsPerInstruction: nanoseconds);
        using SystemGuest translated = warmed
            ? new SystemGuest<Warmed>(64, PatchProgram.Write, nanosecondsPerInstruction: nanoseconds)
            : new SystemGuest<Translated>(64, PatchProgram.Write, nanosecondsPerInstruction: nanoseconds);
        program.Prepare(interpreted);
        program.Prepare(translated);
        interpreted[12] = translated[12] = 0;
        Assert.Equal(VcpuStopKind.Halted, EngineComparison.Run(interpreted, translated, slice));
        Assert.Equal(4001UL, translated[12]);
        Assert.True(translated.Cpu.Translator!.Dropped > 100, "hardly anything was dropped");
    }

    [Theory]
    [InlineData(0x800, 8), InlineData(0x7C, 4), InlineData(0xFF8, 8), InlineData(0x78, 8)]
    public void Store_BesideCode_DropsNothing(int offset, int size)
    {
        // The routine is at the end of the third granule and the start of the fourth; the stores go to others.
        using var guest = new SystemGuest<Translated>(64, a => Calls(a, Page + 0xC0 - 4, () =>
        {
            if (size == 8) a.inc(__qword_ptr[Page + (ulong)offset]);
            else a.inc(__dword_ptr[Page + (ulong)offset]);
            a.mov(__word_ptr[rbx + 2], cx);
        }));
        Place(guest, Page + 0xC0 - 4, 1);
        guest[3] = Page + (ulong)offset;
        RunLoop(guest, 100);
        Assert.Equal(0, guest.Cpu.Translator!.Dropped);
        Assert.Equal((100UL, (ushort)100), (guest[2], guest.Read<ushort>(Page + (ulong)offset)));
    }

    [Theory]
    [InlineData(0x40, false), InlineData(-4, false), InlineData(2, true)]
    public void HostWrite_OfADevice_DropsWhatItMeets(int offset, bool meets)
    {
        // In each round: beside the granule of the routine, or its constant, which is 2 from then on.
        using var guest = new SystemGuest<Translated>(64, a => Calls(a, Page + 0x100, () => a.@out(0x10, al)));
        Place(guest, Page + 0x100, 1);
        guest.Bus.Ports.Map(0x10, 1, new Writer(() => guest.Write(Page + 0x100 + (ulong)offset, 2)));
        RunLoop(guest, 50);
        Assert.Equal(meets ? 99UL : 50, guest[2]);
        Assert.InRange(guest.Cpu.Translator!.Dropped, meets ? 49 : 0, meets ? 100 : 0);
    }

    [Fact]
    public void Store_IntoOneRoutine_DropsThatOneOnly()
    {
        // Two routines with a granule between them; the constant of one is changed in each round.
        using var guest = new SystemGuest<Translated>(64, a => Calls(a, Page, () =>
        {
            a.mov(edi, (uint)Page + 0x100);
            a.call(rdi);
            a.inc(__dword_ptr[Page + 2]);
        }));
        Place(guest, Page, 1);
        Place(guest, Page + 0x100, 1);
        RunLoop(guest, 200);
        // The sum of 1 to 200, and 200 times one.
        Assert.Equal(20100UL + 200, guest[2]);
        // One block in each round, which is translated twice.
        Assert.InRange(guest.Cpu.Translator!.Dropped, 398, 400);
        Assert.InRange(guest.Cpu.Translator.Translated, 400, 420);
    }

    [Theory]
    [InlineData(100), InlineData(20_000)]
    public void Store_IntoALaterBlockOfATrace_DropsTheTrace(int rounds)
    {
        // A block ends with a branch that is not taken, at the end of a granule; the next one, translated with it (or hot with it), is changed now and then.
        using var guest = new SystemGuest<Warmed>(64, a => Calls(a, Page + 0x37, () =>
        {
            var usual = a.CreateLabel();
            a.inc(rbx);
            a.cmp(rbx, rounds / 2);
            a.jne(usual);
            a.inc(__dword_ptr[Page + 0x42]);
            a.Label(ref usual);
        }));
        // ADD EDX, 1 and JB; ADD EDX, imm32 and RET.
        guest.Bytes(Page + 0x37, 0x83, 0xC2, 1, 0x0F, 0x82, 0, 1, 0, 0);
        Place(guest, Page + 0x40, 1);
        guest[3] = 0;
        RunLoop(guest, (ulong)rounds);
        Assert.Equal((ulong)(2 * (rounds / 2) + 3 * (rounds - rounds / 2)), guest[2]);
        Assert.InRange(guest.Cpu.Translator!.Dropped, 2, 20);
    }

    [Fact]
    public void Functions_MadeBesideOthers_DropNothing()
    {
        // A compiler that makes 200 functions of 16 bytes one after another, each of which is called, and the first one with it.
        using var guest = new SystemGuest<Translated>(64, a => Calls(a, Page, () =>
        {
            a.mov(rdi, rbx);
            a.mov(__dword_ptr[rdi], 0xC281);
            a.mov(__dword_ptr[rdi + 2], 1);
            a.mov(__byte_ptr[rdi + 6], 0xC3);
            a.call(rdi);
            a.add(rbx, 0x40);
        }));
        Place(guest, Page, 1);
        guest[3] = Page + 0x40;
        RunLoop(guest, 200);
        Assert.Equal(400UL, guest[2]);
        Assert.Equal(0, guest.Cpu.Translator!.Dropped);
    }

    [Fact]
    public void Page_ThatIsCodeNoMore_IsGivenUp()
    {
        // A routine is called once; its page then holds data, which is counted up in a granule of its own: at some time that takes no detour.
        using var guest = new SystemGuest<Translated>(64, a =>
        {
            var loop = a.CreateLabel();
            a.mov(esi, (uint)Page);
            a.call(rsi);
            a.Label(ref loop);
            a.inc(__dword_ptr[Page + 0x800]);
            a.dec(ecx);
            a.jne(loop);
        });
        Place(guest, Page, 1);
        (guest[1], guest[2]) = (2000, 0);
        guest.RunToEnd();
        Assert.Equal((2000U, 1UL), (guest.Read<uint>(Page + 0x800), guest[2]));
        Assert.InRange(guest.Cpu.Translator!.Dropped, 1, 2);
    }

    [Fact]
    public void Stores_AcrossGranulesAndPages_MeetWhatTheyReach()
    {
        // A store of 16 bytes that ends in the routine, one across the page's end, and one that begins in the routine's last part.
        using var guest = new SystemGuest<Translated>(64, a =>
        {
            a.mov(esi, (uint)Page + 0xFFE);
            a.call(rsi);
            a.mov(eax, 0xEA83_0000);
            a.movd(xmm0, eax);
            a.pslldq(xmm0, 12);
            a.movups(__xmmword_ptr[Page + 0xFF0], xmm0);
            a.call(rsi);
            a.mov(__word_ptr[Page + 0xFFF], 0x10C2);
            a.call(rsi);
            a.mov(eax, 0xC320);
            a.movd(xmm0, eax);
            a.movups(__xmmword_ptr[Page + 0x1000], xmm0);
            a.call(rsi);
        });
        // 83 C2 01, add edx, 1, the last byte of which is in the next page.
        guest.Bytes(Page + 0xFFE, 0x83, 0xC2, 1, 0xC3);
        guest[2] = 0;
        guest.RunToEnd();
        Assert.Equal(1UL - 1 + 0x10 + 0x20, guest[2]);
    }

    private static void Calls(Assembler a, ulong routine, Action body)
    {
        var loop = a.CreateLabel();
        a.Label(ref loop);
        a.mov(esi, (uint)routine);
        a.call(rsi);
        body();
        a.dec(ecx);
        a.jne(loop);
    }

    // ADD EDX, imm32 and RET.
    private static void Place(SystemGuest guest, ulong address, byte value) => guest.Bytes(address, 0x81, 0xC2, value, 0, 0, 0, 0xC3);

    private static void RunLoop(SystemGuest guest, ulong rounds)
    {
        (guest[1], guest[2]) = (rounds, 0);
        guest.RunToEnd();
    }

    private sealed class Writer(Action write) : IIoHandler
    {
        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value) => write();
    }
}
