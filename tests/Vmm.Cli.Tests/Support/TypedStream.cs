using System.IO.Pipelines;

namespace Vmm.Cli.Tests.Support;

/// <summary>A terminal's standard input: bytes as they are typed, and no end.</summary>
internal sealed class TypedStream
{
    private readonly Pipe _pipe = new();

    public Stream Stream => _pipe.Reader.AsStream();

    public async Task TypeAsync(params byte[] keys) => await _pipe.Writer.WriteAsync(keys);
}
