using Vmm.Backends.Software.Translate;
using Xunit;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>The memory for code is full again and again while several processors are in it.</summary>
public sealed class SharedRegionTests
{
    [Theory]
    [InlineData(0, 4, false), InlineData(0, 4, true), InlineData(0, 2, false), InlineData(4, 4, false), InlineData(4, 3, true), InlineData(16, 4, false)]
    public void Library_ThatDoesNotFit_DoesTheSameForEach(int translateAfter, int vcpus, bool alike)
    {
        const int functions = 3000;
        var rounds = translateAfter switch { 0 => 200, 4 => 800, _ => 1500 };
        using var crew = new LibraryProgram(1, functions).Make(translateAfter, vcpus, rounds, alike, Cramped.CodePart);
        using var oracle = new LibraryProgram(1, functions).Make(Crew.Interpreted, vcpus, rounds, alike);
        crew.Run().AssertAlike(oracle);
        // Each of the regions more than once.
        Assert.InRange(crew.Partition.Processors[0].Translator!.Flushes, 2 * CodeMemory.Regions, int.MaxValue);
    }

    [Theory]
    [InlineData(0), InlineData(16)]
    public void Library_OfSeveralProcessors_IsTranslatedOnce(int translateAfter)
    {
        const int functions = 500, rounds = 3000;
        long Translated(int vcpus)
        {
            using var crew = new LibraryProgram(1, functions).Make(translateAfter, vcpus, rounds, alike: true);
            crew.Run();
            return crew.Partition.Processors[0].Translator!.Translated;
        }

        // What is hot depends on who comes first.
        var (alone, together) = (Translated(1), Translated(4));
        Assert.InRange(together, alone / 2, alone * 3 / 2);
    }
}
