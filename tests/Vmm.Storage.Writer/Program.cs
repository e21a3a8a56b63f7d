using System.Globalization;
using Vmm.Devices.Storage;
using Vmm.Storage.Writer;

// Writes a qcow2 image until it is killed, and tells of each flush after it is done: FILE SEED
var disk = await DiskImage.OpenAsync(args[0], DiskFormat.Qcow2);
var output = Console.OpenStandardOutput();
foreach (var step in WriterStep.Sequence(int.Parse(args[1], CultureInfo.InvariantCulture)))
{
    long offset = step.Block * WriterStep.BlockSize, length = step.Count * WriterStep.BlockSize;
    if (step.Value == 0)
    {
        await disk.DiscardAsync(offset, length);
        await disk.WriteZeroesAsync(offset, length);
    }
    else
    {
        // The pieces of a step do not overlap: they are written at the same time.
        var bytes = Enumerable.Repeat(step.Value, (int)length).ToArray();
        await Task.WhenAll(Enumerable.Range(0, step.Count).Select(i => disk.WriteAsync(offset + i * WriterStep.BlockSize, bytes.AsMemory(i * WriterStep.BlockSize, WriterStep.BlockSize)).AsTask()));
    }

    if (!step.Flushes) continue;
    await disk.FlushAsync();
    output.WriteByte(1);
    output.Flush();
}
