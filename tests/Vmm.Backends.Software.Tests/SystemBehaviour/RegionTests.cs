using Vmm.Core.Backends;
using Xunit;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>The memory for code is full again and again: regions are dropped, with all that leads into them, and the rest goes on.</summary>
public sealed class RegionTests
{
    // With and without a look at both every few instructions, and with all code translated or only what is warm.
    public static TheoryData<int, ulong, bool> Seeds => new(Enumerable.Range(0, 8).Select(seed => (seed, seed % 2 == 0 ? 0UL : 700, seed % 4 < 2)));

    [Theory, MemberData(nameof(Seeds))]
    public void RandomRoutines_MoreThanFit_RunAlike(int seed, ulong slice, bool warmed)
    {
        var nanoseconds = slice == 0 ? 0 : 1;
        using var interpreted = new SystemGuest<Interpreted>(64, MeshProgram.Write, nanosecondsPerInstruction: nanoseconds);
        using SystemGuest translated = warmed
            ? new SystemGuest<CrampedWarmed>(64, MeshProgram.Write, nanosecondsPerInstruction: nanoseconds)
            : new SystemGuest<Cramped>(64, MeshProgram.Write, nanosecondsPerInstruction: nanoseconds);
        new MeshProgram(new Random(seed)).Prepare(interpreted, translated);
        interpreted[12] = translated[12] = warmed ? 8000UL : 2000;
        interpreted[13] = translated[13] = (ulong)seed;
        Assert.Equal(VcpuStopKind.Halted, EngineComparison.Run(interpreted, translated, slice));
        Assert.Equal(0UL, translated[12]);
        Assert.InRange(translated.Cpu.Translator!.Flushes, 1000, int.MaxValue);
    }
}
