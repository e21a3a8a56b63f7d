using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Vmm.Cli.Terminal;

/// <summary>The streams of the process, or a test's in their place.</summary>
internal sealed record HostStreams
{
    /// <summary>Opens standard input.</summary>
    public required Func<Stream> OpenInput { get; init; }

    /// <summary>Opens standard output, for the guest's bytes.</summary>
    public required Func<Stream> OpenOutput { get; init; }

    /// <summary>Standard output, for text.</summary>
    public required TextWriter Text { get; init; }

    /// <summary>Standard error.</summary>
    public required TextWriter Error { get; init; }

    /// <summary>Whether somebody types at standard input.</summary>
    public bool IsInputTerminal { get; init; }

    /// <summary>Whether somebody looks at standard error.</summary>
    public bool IsErrorTerminal { get; init; }

    /// <summary>Whether somebody looks at standard output.</summary>
    public bool IsOutputTerminal { get; init; }

    /// <summary>Hands standard input's terminal to the guest until disposed; null where there is none.</summary>
    public Func<IDisposable?> EnterRawMode { get; init; } = () => null;

    /// <summary>Tells the columns and rows of standard output's terminal, now and whenever they change, until disposed; null where there is none.</summary>
    public Func<Action<int, int>, IDisposable?> FollowWindowSize { get; init; } = _ => null;

    public static HostStreams OfThisProcess() => new()
    {
        OpenInput = OpenStandardInput,
        OpenOutput = Console.OpenStandardOutput,
        Text = Writer(Console.OpenStandardOutput()),
        Error = Writer(Console.OpenStandardError()),
        IsInputTerminal = !Console.IsInputRedirected,
        IsOutputTerminal = !Console.IsOutputRedirected,
        IsErrorTerminal = !Console.IsErrorRedirected,
        EnterRawMode = RawTerminal.Enter,
        FollowWindowSize = WindowSize.Follow,
    };

    // Console's own stream edits lines and changes the terminal's settings when it reads from one.
    private static Stream OpenStandardInput() =>
        OperatingSystem.IsWindows() ? Console.OpenStandardInput() : new FileStream(new SafeFileHandle(0, ownsHandle: false), FileAccess.Read, bufferSize: 0);

    // Nor do Console's writers leave the terminal alone.
    private static TextWriter Writer(Stream stream) => TextWriter.Synchronized(new StreamWriter(stream, new UTF8Encoding(false)) { AutoFlush = true });
}
