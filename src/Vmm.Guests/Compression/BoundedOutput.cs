namespace Vmm.Guests.Compression;

/// <summary>Decompressed bytes in one growing array: earlier output serves as the dictionary, and a limit stops bombs.</summary>
internal sealed class BoundedOutput
{
    private readonly int _maximum;
    private byte[] _bytes;

    /// <param name="expected">A guess of the final size from untrusted data; only a capped part is allocated at once.</param>
    /// <param name="maximum">Most bytes ever held.</param>
    public BoundedOutput(long expected, int maximum)
    {
        _maximum = maximum;
        _bytes = new byte[(int)Math.Clamp(expected, 4096, Math.Min(maximum, 1 << 20))];
    }

    public int Length { get; private set; }

    public int Maximum => _maximum;

    public Span<byte> Written => _bytes.AsSpan(0, Length);

    /// <summary>Room for <paramref name="count"/> more bytes, which must then be <see cref="Advance"/>d over.</summary>
    /// <returns>False if the limit would be passed.</returns>
    public bool TryReserve(long count, out Span<byte> room)
    {
        room = default;
        if (count > _maximum - Length)
            return false;
        int needed = Length + (int)count;
        if (needed > _bytes.Length)
            Array.Resize(ref _bytes, (int)Math.Min(_maximum, Math.Max(needed, 2L * _bytes.Length)));
        room = _bytes.AsSpan(Length);
        return true;
    }

    public void Advance(int count) => Length += count;

    public byte[] ToArray()
    {
        Array.Resize(ref _bytes, Length);
        return _bytes;
    }
}
