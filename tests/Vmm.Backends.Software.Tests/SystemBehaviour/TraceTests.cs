using Iced.Intel;
using Vmm.Backends.Software.Translate;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// Loops of blocks that follow one another, which the translator does as one once they are warm, with accesses that are checked together
/// across them: both engines must end alike, at the end of the loop or where it faults.
/// </summary>
public sealed class TraceTests
{
    private const ulong Absent = 0x14000;

    public static TheoryData<int, bool> Fields => new MatrixTheoryData<int, bool>([0, 1, 2, 3], [false, true]);

    // The first without a budget in the code, the others looked at every few instructions.
    public static TheoryData<int, ulong> Seeds => new(Enumerable.Range(0, 100).Select(seed => (seed, seed < 75 ? 0UL : 5)));

    [Theory, MemberData(nameof(Fields))]
    public void Field_OfABlockOfItsOwn_FaultsThere(int block, bool write)
    {
        var end = Compare((a, mark) =>
        {
            Label loop = a.CreateLabel(), aside = a.CreateLabel();
            a.Label(ref loop);
            for (var i = 0; i < 4; i++)
            {
                a.adc(eax, 3);
                mark($"{i}");
                if (write) a.adc(__qword_ptr[rbx + 8 * i], rax);
                else a.adc(rdx, __qword_ptr[rbx + 8 * i]);
                // Never: the values are small.
                a.jo(aside);
            }

            a.add(rbx, 32);
            a.jmp(loop);
            a.Label(ref aside);
        }, guest => guest.SetPage(Absent, 0)[3] = Absent - 32 * 60 - 8 * (ulong)block, 0);
        Assert.Equal(new Trap(14, write ? 2u : 0, end[$"{block}"]), end.Trap);
        Assert.Equal(Absent, end.State.Cr2);
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void RegistersOfVectorsOrX87_AreLoadedBetweenTheAccessesOfAGroup(bool x87)
    {
        var end = Compare((a, mark) =>
        {
            Label loop = a.CreateLabel(), aside = a.CreateLabel();
            a.fninit();
            a.Label(ref loop);
            a.mov(rax, __qword_ptr[rbx]);
            a.add(rax, 1);
            a.jo(aside);
            if (x87) a.fld1();
            else a.paddq(xmm0, xmm1);
            a.mov(__qword_ptr[rdi], rax);
            a.mov(rdx, __qword_ptr[rbx + 8]);
            if (x87) a.fstp(__qword_ptr[rbx + 16]);
            else a.movq(__qword_ptr[rbx + 16], xmm0);
            // By C#, so that the registers are in the state when the loop begins anew.
            a.cpuid();
            a.mov(rbx, rbp);
            a.dec(rsi);
            a.jne(loop);
            a.Label(ref aside);
        }, guest => (guest[3], guest[5], guest[6], guest[7]) = (0x10000, 0x10000, 100, 0x11000), 0);
        Assert.Equal(VcpuStopKind.Halted, end.Stop);
        Assert.Equal(0UL, end.State.Gpr[6]);
    }

    [Theory, MemberData(nameof(Seeds))]
    public void Loop_OfRandomBlocks_EndsAlike(int seed, ulong slice)
    {
        // Each of the two is made by the same numbers.
        Compare((a, _) => new TraceProgram(new Random(seed)).Write(a), guest =>
        {
            var random = new Random(~seed);
            // No page is followed by the same memory as its address is.
            for (var page = 0xF000UL; page <= 0x22000; page += 0x1000) guest.SetPage(page, 0xA0007 - page);
            var memory = new byte[0x14000];
            random.NextBytes(memory);
            guest.Bytes(0x7E000, memory);
            for (var i = 0; i < 16; i++) guest[i] = (ulong)random.NextInt64() >> random.Next(64);
            // Most get to a page that is not there, or cannot be written to; some end before.
            guest.SetPage(Absent, (seed % 3) switch { 0 => 0, 1 => 0x8C005, _ => 0x8C007UL });
            (guest[3], guest[4], guest[5]) = (Absent - 0x800 - (ulong)random.Next(0x1000), 0x20000UL + 8 * (ulong)random.Next(0x180), Absent - 0x200 - 8 * (ulong)random.Next(0x200));
            guest[12] = 250;
        }, slice);
    }

    private static End Compare(Action<Assembler, Action<string>> body, Action<SystemGuest> prepare, ulong slice)
    {
        var clock = slice == 0 ? 0 : 1;
        using var interpreted = new SystemGuest<Interpreted>(64, body, nanosecondsPerInstruction: clock);
        using var translated = new SystemGuest<Warmed>(64, body, nanosecondsPerInstruction: clock);
        foreach (var guest in (SystemGuest[])[interpreted, translated])
        {
            guest.State.Cr4 |= 1 << 18;
            guest.State.Xcr0 = 7;
            prepare(guest);
        }

        var stop = EngineComparison.Run(interpreted, translated, slice);
        // Some were translated together.
        if (translated.Cpu.Translator is { } translator) Assert.True(translator.Translated > translated.Cpu.Counters.TranslatedBlocks);
        var inHandler = interpreted.State.Rip - 1 - SystemGuest.Handlers < 0x1000;
        return new End(stop, interpreted.State, inHandler ? interpreted.Trap : default, n => interpreted[n]);
    }

    private sealed record End(VcpuStopKind Stop, VcpuState State, Trap Trap, Func<string, ulong> Label)
    {
        public ulong this[string label] => Label(label);
    }
}
