namespace Vmm.Architecture.Tests;

public class SourceFileTests
{
    [Fact]
    public void Code_CommentsAndLiterals_AreBlank()
    {
        const string Text = """
            a(); // unsafe
            /* Thread.Sleep
            */ b("unsafe \" x", '"', @"un""safe", $"{c}");
            """;
        var code = new SourceFile("src/X/Y.cs", Text + "\nd(\"\"\"unsafe\n\"\"\");").Code;
        Assert.DoesNotContain("unsafe", code);
        Assert.DoesNotContain("Sleep", code);
        Assert.Contains("a();", code);
        Assert.Contains("b(", code);
        Assert.Contains("d(", code);
        Assert.Equal(5, code.Split('\n').Length);
    }

    [Fact]
    public void Repository_HasSources() => Assert.Contains(Repository.Sources, f => f.Path == "src/Vmm.Core/VirtualMachine.cs");
}
