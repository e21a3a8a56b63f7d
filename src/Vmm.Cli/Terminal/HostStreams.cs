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

    public static HostStreams OfThisProcess() => new()
    {
        OpenInput = Console.OpenStandardInput,
        OpenOutput = Console.OpenStandardOutput,
        Text = Console.Out,
        Error = Console.Error,
        IsInputTerminal = !Console.IsInputRedirected,
        IsOutputTerminal = !Console.IsOutputRedirected,
        IsErrorTerminal = !Console.IsErrorRedirected,
        EnterRawMode = RawTerminal.Enter,
    };
}
