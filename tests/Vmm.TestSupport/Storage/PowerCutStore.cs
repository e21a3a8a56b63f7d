using Vmm.Devices.Storage;

namespace Vmm.TestSupport.Storage;

/// <summary>
/// A disk with a volatile cache, in memory. Its power goes at a chosen change; what was not flushed by then is on the medium or not,
/// in any combination, and a write may be there in part.
/// </summary>
public sealed class PowerCutStore : BlockStore
{
    private const int Sector = 512;

    private readonly Lock _lock = new();
    private readonly List<(long Offset, byte[]? Bytes, long Length)> _volatile = [];
    private readonly long? _cutAt;
    private byte[] _medium;
    private byte[] _cache;
    private long _changes;

    /// <param name="contents">What is on the medium.</param>
    /// <param name="cutAt">The change that finds the power gone, counted from 0; null for never.</param>
    public PowerCutStore(byte[] contents, long? cutAt = null) => (_medium, _cache, _cutAt) = ((byte[])contents.Clone(), (byte[])contents.Clone(), cutAt);

    /// <summary>Writes, zeroings, discards, resizes and flushes so far.</summary>
    public long Changes
    {
        get
        {
            lock (_lock) return _changes;
        }
    }

    public bool IsCut => _cutAt is { } at && Changes > at;

    public override long Length
    {
        get
        {
            lock (_lock) return _cache.Length;
        }
    }

    public override bool IsReadOnly => false;

    /// <summary>What a reader finds after the power came back.</summary>
    public byte[] Medium(Random random)
    {
        lock (_lock)
        {
            var found = (byte[])_medium.Clone();
            foreach (var (offset, bytes, length) in _volatile)
            {
                if (random.Next(2) == 0) continue;
                if (length >= 0) Array.Resize(ref found, (int)length);
                else if (random.Next(4) > 0) Apply(ref found, offset, bytes);
                else Apply(ref found, offset, bytes.AsSpan(0, random.Next(bytes!.Length / Sector + 1) * Sector));
            }

            return found;
        }
    }

    public override ValueTask FlushAsync()
    {
        lock (_lock)
        {
            Change();
            _medium = (byte[])_cache.Clone();
            _volatile.Clear();
        }

        return default;
    }

    public override ValueTask DisposeAsync() => default;

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> destination)
    {
        lock (_lock) _cache.AsSpan((int)offset, destination.Length).CopyTo(destination.Span);
        return default;
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> source)
    {
        lock (_lock)
        {
            Change();
            _volatile.Add((offset, source.ToArray(), -1));
            source.Span.CopyTo(_cache.AsSpan((int)offset));
        }

        return default;
    }

    protected override ValueTask ResizeCoreAsync(long length)
    {
        lock (_lock)
        {
            Change();
            _volatile.Add((0, null, length));
            Array.Resize(ref _cache, checked((int)length));
        }

        return default;
    }

    private static void Apply(ref byte[] medium, long offset, ReadOnlySpan<byte> bytes)
    {
        if (medium.Length < offset + bytes.Length) Array.Resize(ref medium, (int)offset + bytes.Length);
        bytes.CopyTo(medium.AsSpan((int)offset));
    }

    private void Change()
    {
        if (_changes++ >= _cutAt) throw new IOException("The power is gone.");
    }
}
