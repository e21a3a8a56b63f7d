using System.Text;
using Vmm.Cli.Terminal;

namespace Vmm.Cli.Tests.Support;

/// <summary>Runs the command line in this process.</summary>
internal sealed class CliRun : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-cli-").FullName;
    private readonly MemoryStream _output = new();
    private readonly StringWriter _text = new();
    private readonly StringWriter _error = new();

    /// <summary>What is piped in.</summary>
    public Stream Input { get; init; } = Stream.Null;

    public bool IsTerminal { get; init; }

    public Func<IDisposable?> EnterRawMode { get; init; } = () => null;

    /// <summary>The guest's output.</summary>
    public string Output => Encoding.Latin1.GetString(_output.ToArray());

    /// <summary>What vmm itself wrote to standard output.</summary>
    public string Text => _text.ToString();

    public string Error => _error.ToString();

    public HostStreams Streams => new()
    {
        OpenInput = () => Input, OpenOutput = () => _output, Text = TextWriter.Synchronized(_text), Error = TextWriter.Synchronized(_error), IsInputTerminal = IsTerminal, EnterRawMode = EnterRawMode,
    };

    public string PathOf(string name) => Path.Combine(_directory, name);

    public string File(string name, byte[] content)
    {
        var path = PathOf(name);
        System.IO.File.WriteAllBytes(path, content);
        return path;
    }

    public Task<int> RunAsync(params string[] arguments) => CommandLine.RunAsync(arguments, Streams);

    public Task<int> RunRomAsync(byte[] rom, params string[] more) => RunAsync(["run", "--firmware", File("test.rom", rom), .. more]);

    public void Dispose() => Directory.Delete(_directory, recursive: true);
}
