using FsCheck;
using FsCheck.Fluent;
using FsCheck.Xunit;
using Vmm.Cli.Terminal;

namespace Vmm.Cli.Tests.Terminal;

public class ConsoleMarksTests
{
    [Property]
    public bool Marks_InAnyPieces_AreFoundOnceInOrder(PositiveInt size)
    {
        List<string> found = [];
        var marks = Wanting(found);
        var stream = "# [0.0] Linux version 6 .. Linux version .. readready # #"u8.ToArray();
        foreach (var piece in stream.Chunk(size.Get)) marks.Search(piece);
        return found.SequenceEqual(["linux", "ready", "prompt"]) && marks.Length == stream.Length;
    }

    [Fact]
    public void Mark_BeforeTheOneItFollows_IsNotFound()
    {
        List<string> found = [];
        var marks = Wanting(found);
        marks.Search("# # #"u8);
        marks.Search("ready"u8);
        Assert.Equal(["ready"], found);
        marks.Search("#"u8);
        Assert.Equal(["ready", "prompt"], found);
    }

    [Fact]
    public void Mark_InTheSamePieceBehindTheOneItFollows_IsFound()
    {
        List<string> found = [];
        Wanting(found).Search("ready#"u8);
        Assert.Equal(["ready", "prompt"], found);
    }

    private static ConsoleMarks Wanting(List<string> found)
    {
        var marks = new ConsoleMarks(found.Add);
        marks.Add("linux", "Linux version"u8);
        marks.Add("ready", "ready"u8);
        marks.Add("prompt", "#"u8, after: "ready");
        return marks;
    }
}
