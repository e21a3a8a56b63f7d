using System.Buffers;
using System.IO.Pipelines;
using System.Text;
using System.Text.RegularExpressions;

namespace Vmm.Devices.Serial;

/// <summary>
/// A console in memory: one end is the pipe that a board takes, the other writes text to the guest and reads or waits for what the
/// guest says. Output is taken as it comes, so that a guest never waits for a host that does not look; the latest
/// part of it is kept. Text is UTF-8. Thread-safe; readers share one position, which each read moves.
/// </summary>
public sealed class ConsolePipe : IDuplexPipe
{
    /// <summary>How many characters of output are kept unless another number is given.</summary>
    public const int DefaultCapacity = 1 << 20;

    private readonly Pipe _toGuest = new();
    private readonly Pipe _fromGuest = new();
    private readonly Lock _lock = new();
    private readonly SemaphoreSlim _writing = new(1);
    private readonly StringBuilder _text = new();
    private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
    private readonly int _capacity;
    private TaskCompletionSource _more = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _dropped;
    private long _position;
    private bool _ended;

    /// <summary>Makes a console.</summary>
    /// <param name="capacity">How many characters of output to keep; the oldest go first.</param>
    public ConsolePipe(int capacity = DefaultCapacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        _capacity = capacity;
        _ = Task.Run(CollectAsync);
    }

    PipeReader IDuplexPipe.Input => _toGuest.Reader;

    PipeWriter IDuplexPipe.Output => _fromGuest.Writer;

    /// <summary>What the guest has said so far; the latest part of it, if it was more than the capacity.</summary>
    public string Text
    {
        get
        {
            lock (_lock) return _text.ToString();
        }
    }

    /// <summary>Whether the guest's end was closed: nothing more comes.</summary>
    public bool IsEnded
    {
        get
        {
            lock (_lock) return _ended;
        }
    }

    /// <summary>Types text. Completes when it is on its way; waits while a guest that does not read has 64 KiB before it.</summary>
    /// <param name="text">Any text; a carriage return or line feed is what ends a line for a Linux terminal.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    public async Task WriteAsync(string text, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(text);
        await WriteAsync(Encoding.UTF8.GetBytes(text), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Types a line, ended by a line feed.</summary>
    /// <param name="line">The line.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    public Task WriteLineAsync(string line, CancellationToken cancellationToken = default) => WriteAsync(line + "\n", cancellationToken);

    /// <summary>Sends bytes as they are.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    public async Task WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default)
    {
        await _writing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await _toGuest.Writer.WriteAsync(bytes, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
        }
    }

    /// <summary>Reads up to the end of the next line.</summary>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <returns>The line without its end; null when the guest's end was closed and all was read.</returns>
    public async Task<string?> ReadLineAsync(CancellationToken cancellationToken = default)
    {
        while (true)
        {
            Task more;
            lock (_lock)
            {
                var rest = Rest;
                var end = rest.IndexOf('\n');
                if (end >= 0 || (_ended && rest.Length > 0))
                {
                    _position += end >= 0 ? end + 1 : rest.Length;
                    return (end >= 0 ? rest[..end] : rest).TrimEnd('\r');
                }

                if (_ended) return null;
                more = _more.Task;
            }

            await more.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Waits until the guest has said something, and reads up to its end.</summary>
    /// <param name="text">The exact text.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <returns>What was read, which ends with the text.</returns>
    /// <exception cref="EndOfStreamException">The guest's end was closed without it; the message has its last words.</exception>
    public async Task<string> WaitForAsync(string text, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(text);
        return await WaitAsync(rest => rest.IndexOf(text, StringComparison.Ordinal) is >= 0 and var at ? (rest[..(at + text.Length)], at + text.Length) : default((string, int)?), $"'{text}'", cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Waits until the guest has said something that an expression matches, and reads up to the end of the match.</summary>
    /// <param name="expression">Tried against all that was not read yet, whenever more comes.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <returns>The match.</returns>
    /// <exception cref="EndOfStreamException">The guest's end was closed without it; the message has its last words.</exception>
    public async Task<Match> WaitForAsync(Regex expression, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(expression);
        return await WaitAsync(rest => expression.Match(rest) is { Success: true } match ? (match, match.Index + match.Length) : default((Match, int)?), $"/{expression}/", cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Waits until the guest's end is closed.</summary>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <returns>All that was not read yet.</returns>
    public async Task<string> ReadToEndAsync(CancellationToken cancellationToken = default)
    {
        while (true)
        {
            Task more;
            lock (_lock)
            {
                if (_ended)
                {
                    var rest = Rest;
                    _position += rest.Length;
                    return rest;
                }

                more = _more.Task;
            }

            await more.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private string Rest
    {
        get
        {
            // What was dropped before anybody read it is gone.
            _position = Math.Max(_position, _dropped);
            return _text.ToString((int)(_position - _dropped), (int)(_dropped + _text.Length - _position));
        }
    }

    private async Task<T> WaitAsync<T>(Func<string, (T Result, int End)?> find, string what, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task more;
            lock (_lock)
            {
                var rest = Rest;
                if (find(rest) is var (result, end))
                {
                    _position += end;
                    return result;
                }

                if (_ended) throw new EndOfStreamException($"The guest's console was closed before {what} came. Its last words: {rest[Math.Max(0, rest.Length - 400)..]}");
                more = _more.Task;
            }

            await more.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task CollectAsync()
    {
        try
        {
            while (true)
            {
                var result = await _fromGuest.Reader.ReadAsync().ConfigureAwait(false);
                Append(result.Buffer);
                _fromGuest.Reader.AdvanceTo(result.Buffer.End);
                if (result.IsCompleted) break;
            }
        }
        finally
        {
            await _fromGuest.Reader.CompleteAsync().ConfigureAwait(false);
            Wake(ended: true);
        }
    }

    private void Append(ReadOnlySequence<byte> bytes)
    {
        var chars = new char[Encoding.UTF8.GetMaxCharCount((int)bytes.Length)];
        var count = 0;
        foreach (var segment in bytes) count += _decoder.GetChars(segment.Span, chars.AsSpan(count), flush: false);
        lock (_lock)
        {
            _text.Append(chars, 0, count);
            var excess = _text.Length - _capacity;
            if (excess > 0)
            {
                _text.Remove(0, excess);
                _dropped += excess;
            }
        }

        Wake(ended: false);
    }

    private void Wake(bool ended)
    {
        TaskCompletionSource more;
        lock (_lock)
        {
            _ended |= ended;
            more = _more;
            _more = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        more.TrySetResult();
    }
}
