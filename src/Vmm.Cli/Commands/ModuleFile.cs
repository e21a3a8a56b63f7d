namespace Vmm.Cli.Commands;

/// <summary>A file for the kernel, and what follows its name in the string the kernel is given.</summary>
internal sealed record ModuleFile(string Path, string Arguments)
{
    /// <summary>Reads FILE or FILE=ARGS; a file whose name has "=" in it cannot be named so.</summary>
    public static ModuleFile Parse(string text) => text.IndexOf('=') is >= 0 and var at ? new ModuleFile(text[..at], text[(at + 1)..]) : new ModuleFile(text, "");
}
