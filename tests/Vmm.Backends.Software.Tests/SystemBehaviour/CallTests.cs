using Iced.Intel;
using Xunit;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Random programs of calls and returns that get hot, by both engines, which must end alike: at the end, or where the stack is not there.</summary>
public sealed class CallTests
{
    private const ulong Work = 0x10000, Stack = 0x22000;

    // The first without a budget in the code, the others looked at every so many instructions.
    public static TheoryData<int, ulong> Seeds => new(Enumerable.Range(0, int.TryParse(Environment.GetEnvironmentVariable("VMM_CALLS"), out var asked) ? asked : 120).Select(seed => (seed, seed % 4 != 0 ? 0UL : 9973)));

    [Theory, MemberData(nameof(Seeds))]
    public void Program_OfCalls_EndsAlike(int seed, ulong slice)
    {
        void Body(Assembler a, Action<string> mark) => new CallProgram(new Random(seed)).Write(a);
        var clock = slice == 0 ? 0 : 1;
        using var interpreted = new SystemGuest<Interpreted>(64, Body, nanosecondsPerInstruction: clock);
        using var heated = new SystemGuest<Heated>(64, Body, nanosecondsPerInstruction: clock);
        foreach (var guest in (SystemGuest[])[interpreted, heated])
        {
            var random = new Random(~seed);
            for (var i = 0; i < 16; i++) guest[i] = (ulong)random.NextInt64();
            // Pages of the stack lie in disorder; in some guests one is absent, or cannot be written to.
            for (var page = 0x18000UL; page < 0x24000; page += 0x1000) guest.SetPage(page, 0xA0007 - page);
            if (seed % 3 == 0) guest.SetPage(Stack - 0x2000, (seed % 2) switch { 0 => 0, _ => 0x8C005UL });
            (guest[3], guest[4], guest[12]) = (Work, Stack - 8 * (ulong)random.Next(400, 512), 3000);
        }

        EngineComparison.Run(interpreted, heated, slice);
        // Who got far enough was translated again, as hot.
        if (heated.Cpu.Translator is { } translator && heated[12] < 1000) Assert.True(translator.Translated > heated.Cpu.Counters.TranslatedBlocks);
    }
}
