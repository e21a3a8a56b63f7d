namespace Vmm.Storage.Writer;

/// <summary>One step of the writer, the same for the same seed in every process.</summary>
/// <param name="Block">The first block.</param>
/// <param name="Count">How many blocks.</param>
/// <param name="Value">What they are filled with; 0 is discarded and zeroed.</param>
/// <param name="Flushes">Whether a flush follows.</param>
public readonly record struct WriterStep(int Block, int Count, byte Value, bool Flushes)
{
    public const int BlockSize = 2048, Blocks = 8192;

    public static IEnumerable<WriterStep> Sequence(int seed)
    {
        var random = new Random(seed);
        while (true)
        {
            var count = random.Next(1, 40);
            yield return new WriterStep(random.Next(Blocks - count), count, (byte)(random.Next(5) == 0 ? 0 : random.Next(1, 256)), random.Next(6) == 0);
        }
    }
}
