namespace Vmm.Cli.Terminal;

/// <summary>Finds texts in a stream that comes in pieces, each once, and tells when.</summary>
/// <param name="found">Told the name of each mark, as it is found, on the thread that searches.</param>
internal sealed class ConsoleMarks(Action<string> found)
{
    private readonly List<Mark> _wanted = [];
    private byte[] _tail = [];
    private long _tailStart;
    private long _length;

    /// <summary>Bytes searched so far.</summary>
    public long Length => Volatile.Read(ref _length);

    /// <summary>Wants a text. Before the search begins.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="text">The exact bytes.</param>
    /// <param name="after">The name of a mark wanted before, behind which this one is looked for; null for anywhere.</param>
    public void Add(string name, ReadOnlySpan<byte> text, string? after = null) => _wanted.Add(new Mark(name, text.ToArray(), after, _wanted.Find(m => m.Name == after)));

    /// <summary>Searches the next piece.</summary>
    public void Search(ReadOnlySpan<byte> piece)
    {
        Volatile.Write(ref _length, _length + piece.Length);
        if (_wanted.Count == 0) return;
        byte[] window = [.. _tail, .. piece];
        foreach (var mark in _wanted)
        {
            if (mark.Previous is { End: < 0 }) continue;
            var from = (int)Math.Max(0, (mark.Previous?.End ?? 0) - _tailStart);
            var at = window.AsSpan(from).IndexOf(mark.Text);
            if (at < 0) continue;
            mark.End = _tailStart + from + at + mark.Text.Length;
            found(mark.Name);
        }

        _wanted.RemoveAll(m => m.End >= 0);
        var keep = Math.Min(window.Length, _wanted.Count == 0 ? 0 : _wanted.Max(m => m.Text.Length) - 1);
        _tailStart += window.Length - keep;
        _tail = window[^keep..];
    }

    private sealed class Mark(string name, byte[] text, string? after, Mark? previous)
    {
        public string Name { get; } = name;

        public byte[] Text { get; } = text;

        public Mark? Previous { get; } = after is null ? null : previous ?? throw new ArgumentException($"The mark '{name}' follows '{after}', which is not wanted.", nameof(after));

        /// <summary>Where in the stream it ended; negative while not found.</summary>
        public long End { get; set; } = -1;
    }
}
