using System.Diagnostics;
using System.Globalization;
using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.Storage.Tests.Support;
using Vmm.Storage.Writer;

namespace Vmm.Storage.Tests.Qcow2;

/// <summary>A process that writes with flushes is killed, again and again, on the same image. VMM_TEST_KILLS sets how often.</summary>
public class Qcow2KillTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ProcessKilled_WhileItWrites_LosesNothingFlushedAndDamagesNothing(bool lazy)
    {
        QemuImg.Require();
        var kills = int.TryParse(Environment.GetEnvironmentVariable("VMM_TEST_KILLS"), out var n) ? n : 4;
        using var folder = new ScratchFolder();
        var path = folder["disk.qcow2"];
        await using (var file = RawFileStore.Create(path, 0)) await Qcow2Store.CreateAsync(file, WriterStep.Blocks * WriterStep.BlockSize, new Qcow2CreateOptions { ClusterSize = 1 << 14, LazyRefcounts = lazy });
        var held = new byte[WriterStep.Blocks];
        for (var kill = 0; kill < kills; kill++)
        {
            var flushes = WriteAndKill(path, seed: kill, after: new Random(kill).Next(1, 25));

            // Late counts are wrong until the image is opened again, which counts them anew.
            if (!lazy) QemuImg.Check(path, allowLeaks: true);
            var touched = Replay(held, kill, flushes);
            await using (var disk = (Qcow2Store)await DiskImage.OpenAsync(path, DiskFormat.Qcow2))
            {
                var block = new byte[WriterStep.BlockSize];
                for (var i = 0; i < held.Length; i++)
                {
                    await disk.ReadAsync(i * WriterStep.BlockSize, block);
                    if (!touched[i]) Assert.True(block.AsSpan().IndexOfAnyExcept(held[i]) < 0, $"Kill {kill}, {flushes} flushes: block {i} is {block[0]}, {held[i]} was flushed.");

                    // What was under way is there or not, block by block: the next round goes on from one value each.
                    if (!touched[i]) continue;
                    held[i] = 0xEE;
                    await disk.WriteAsync(i * WriterStep.BlockSize, Enumerable.Repeat((byte)0xEE, WriterStep.BlockSize).ToArray());
                }

                await disk.CheckAsync(Qcow2Repair.Leaks);
            }

            QemuImg.Check(path);
        }
    }

    /// <summary>How many flushes the process told of before it died.</summary>
    private static int WriteAndKill(string path, int seed, int after)
    {
        var writer = Path.Combine(AppContext.BaseDirectory, "Vmm.Storage.Writer.dll");
        using var process = Process.Start(new ProcessStartInfo("dotnet", [writer, path, seed.ToString(CultureInfo.InvariantCulture)]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var flushes = 0;
        var output = process.StandardOutput.BaseStream;
        while (output.ReadByte() >= 0)
        {
            if (++flushes == after) process.Kill();
        }

        process.WaitForExit();
        Assert.True(flushes >= after, $"The writer ended by itself: {process.StandardError.ReadToEnd()}");
        return flushes;
    }

    /// <summary>Brings the model to the last flush, and tells which blocks were written after it.</summary>
    private static bool[] Replay(byte[] held, int seed, int flushes)
    {
        var touched = new bool[held.Length];
        foreach (var step in WriterStep.Sequence(seed))
        {
            if (flushes > 0) held.AsSpan(step.Block, step.Count).Fill(step.Value);
            else touched.AsSpan(step.Block, step.Count).Fill(true);
            if (step.Flushes && flushes-- == 0) break;
        }

        return touched;
    }
}
