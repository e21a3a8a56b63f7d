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
        var rounds = translateAfter == 0 ? 300 : 1500;
        using var crew = new LibraryProgram(1, functions).Make(translateAfter, vcpus, rounds, alike, Cramped.CodePart);
        using var oracle = new LibraryProgram(1, functions).Make(Crew.Interpreted, vcpus, rounds, alike);
        crew.Run().AssertAlike(oracle);
        // Far more than there are functions, and than fit.
        Assert.InRange(crew.TranslatedBlocks, 3 * functions, long.MaxValue);
    }
}
