using System.Buffers;
using System.IO.Pipelines;
using System.Text;

namespace Vmm.Cli.Terminal;

/// <summary>
/// The guest's serial port on two streams of the host. Input is read by a thread of its own, since a read of standard input cannot be
/// taken back; output is written as it comes and searched for marks.
/// </summary>
internal sealed class HostConsole : IDuplexPipe
{
    private const string Help = "\r\nCtrl-A x       kill the guest and leave\r\nCtrl-A Ctrl-A  send Ctrl-A\r\nCtrl-A h       this list\r\n";

    private readonly Pipe _toGuest = new();
    private readonly Pipe _fromGuest = new();
    private readonly TaskCompletionSource _left = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Stream _output;
    private readonly ConsoleMarks _marks;
    private Task _writing = Task.CompletedTask;

    /// <param name="output">Where the guest's bytes go.</param>
    /// <param name="marks">Searches them.</param>
    public HostConsole(Stream output, ConsoleMarks marks) => (_output, _marks) = (output, marks);

    PipeReader IDuplexPipe.Input => _toGuest.Reader;

    PipeWriter IDuplexPipe.Output => _fromGuest.Writer;

    /// <summary>Completes when the user has asked to leave.</summary>
    public Task Left => _left.Task;

    /// <summary>Why the guest's output could not be written; null as long as it could.</summary>
    public IOException? OutputFailure { get; private set; }

    /// <summary>Begins to write output.</summary>
    public void StartOutput() => _writing = Task.Run(WriteAsync);

    /// <summary>Begins to read a terminal, whose Ctrl-A keys are vmm's.</summary>
    public void StartTerminal(Stream input) => Start(input, Task.CompletedTask, new EscapeKeys(), []);

    /// <summary>Begins to read a file or pipe, whose bytes are all the guest's.</summary>
    /// <param name="input">The stream; its end is no error.</param>
    /// <param name="gate">When to begin.</param>
    /// <param name="atEnd">What to send at its end, after a line end if the last line has none; may be empty.</param>
    public void StartPiped(Stream input, Task gate, byte[] atEnd) => Start(input, gate, null, atEnd);

    /// <summary>Nothing is ever typed.</summary>
    public void StartWithoutInput() => _toGuest.Writer.Complete();

    /// <summary>Completes when all that the guest has written is written; its port has been closed before.</summary>
    public Task DrainAsync() => _writing;

    private void Start(Stream input, Task gate, EscapeKeys? keys, byte[] atEnd) =>
        _ = Task.Factory.StartNew(() => Read(input, gate, keys, atEnd), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private void Read(Stream input, Task gate, EscapeKeys? keys, byte[] atEnd)
    {
        var writer = _toGuest.Writer;
        try
        {
            gate.Wait();
            var buffer = new byte[4096];
            byte last = (byte)'\n';
            while (input.Read(buffer) is > 0 and var count)
            {
                if (keys is null) writer.Write(buffer.AsSpan(0, count));
                else if (Obey(keys, buffer.AsSpan(0, count), writer)) break;
                last = buffer[count - 1];
                if (writer.FlushAsync().AsTask().GetAwaiter().GetResult().IsCompleted) return;
            }

            if (atEnd.Length == 0 || _left.Task.IsCompleted) return;
            if (last is not ((byte)'\n' or (byte)'\r')) writer.Write("\n"u8);
            writer.Write(atEnd);
            writer.FlushAsync().AsTask().GetAwaiter().GetResult();
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or UnauthorizedAccessException)
        {
            // The terminal or the sender has gone; that is the end of input, as for any program.
        }
        finally
        {
            writer.Complete();
        }
    }

    private bool Obey(EscapeKeys keys, ReadOnlySpan<byte> typed, PipeWriter guest)
    {
        switch (keys.Filter(typed, guest))
        {
            case EscapeRequest.Help:
                Write(Encoding.ASCII.GetBytes(Help));
                return false;
            case EscapeRequest.Leave:
                _left.TrySetResult();
                return true;
            default:
                return false;
        }
    }

    private async Task WriteAsync()
    {
        var reader = _fromGuest.Reader;
        while (true)
        {
            var result = await reader.ReadAsync().ConfigureAwait(false);
            foreach (var segment in result.Buffer)
            {
                _marks.Search(segment.Span);
                Write(segment.Span);
            }

            reader.AdvanceTo(result.Buffer.End);
            if (result.IsCompleted) break;
        }

        await reader.CompleteAsync().ConfigureAwait(false);
    }

    // The guest runs on where nobody can be shown what it says.
    private void Write(ReadOnlySpan<byte> bytes)
    {
        if (OutputFailure is not null) return;
        try
        {
            lock (_output)
            {
                _output.Write(bytes);
                _output.Flush();
            }
        }
        catch (IOException e)
        {
            OutputFailure = e;
        }
    }
}
