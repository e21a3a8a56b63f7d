namespace Vmm.Guests.Compression;

/// <summary>Compressed data is malformed, cut short or too big. Callers turn it into the exception of what they were reading.</summary>
/// <param name="format">The format's name.</param>
/// <param name="offset">Byte offset in the compressed data.</param>
/// <param name="reason">What is wrong.</param>
internal sealed class DecompressionException(string format, long offset, string reason) : Exception($"{format} data at offset 0x{offset:x}: {reason}")
{
    public string Format { get; } = format;
}
