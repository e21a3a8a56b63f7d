using System.Text;

namespace Vmm.Architecture.Tests;

/// <summary>A C# file: its text, and the same without what is in comments and literals.</summary>
internal sealed class SourceFile(string path, string text)
{
    private string? _code;

    public string Path { get; } = path;

    public string Text { get; } = text;

    public string Name => System.IO.Path.GetFileName(Path);

    /// <summary>The project's folder name: the second part of the path.</summary>
    public string Project => Path.Split('/')[1];

    public int Lines => Text.AsSpan().Count('\n');

    /// <summary>The text with comments and the contents of literals blanked out; lines stay where they are.</summary>
    public string Code => _code ??= Strip(Text);

    public override string ToString() => Path;

    private static string Strip(string text)
    {
        var code = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length;)
        {
            var end = End(text, i);
            if (end == i)
            {
                code.Append(text[i++]);
                continue;
            }

            for (; i < end && i < text.Length; i++) code.Append(text[i] == '\n' ? '\n' : ' ');
        }

        return code.ToString();
    }

    /// <summary>Where the comment or literal that begins here ends; here, if none begins.</summary>
    private static int End(string text, int i)
    {
        var rest = text.AsSpan(i);
        if (rest.StartsWith("//")) return i + Until(rest, "\n");
        if (rest.StartsWith("/*")) return i + Until(rest[2..], "*/") + 4;
        if (rest.StartsWith("\"\"\""))
        {
            var quotes = rest.IndexOfAnyExcept('"');
            return i + quotes + Until(rest[quotes..], new string('"', quotes)) + quotes;
        }

        if (rest.StartsWith("@\"") || rest.StartsWith("$@\"") || rest.StartsWith("@$\""))
        {
            var at = i + rest.IndexOf('"') + 1;
            while (at < text.Length && (text[at] != '"' || (at + 1 < text.Length && text[at + 1] == '"'))) at += text[at] == '"' ? 2 : 1;
            return at + 1;
        }

        if (rest[0] is '"' or '\'')
        {
            var at = i + 1;
            while (at < text.Length && text[at] != rest[0] && text[at] != '\n') at += text[at] == '\\' ? 2 : 1;
            return at + 1;
        }

        return i;
    }

    private static int Until(ReadOnlySpan<char> text, string end) => text.IndexOf(end) is var at && at < 0 ? text.Length : at;
}
