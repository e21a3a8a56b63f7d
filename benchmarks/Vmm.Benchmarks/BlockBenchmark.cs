using System.Diagnostics;
using System.Globalization;
using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.TestSupport.Virtio;
using Buffer = Vmm.TestSupport.Virtio.Buffer;

namespace Vmm.Benchmarks;

/// <summary>
/// A virtio disk from the driver's side, without a guest: requests through queue, device and store, beside plain calls of
/// <see cref="RandomAccess"/> on the same file.
/// </summary>
internal static class BlockBenchmark
{
    private const int Size = 64 << 20, Depth = 32, Requests = 60_000, Block = 4096;
    private const ulong Stride = 0x2000;

    public static async Task RunAsync()
    {
        var folder = Directory.CreateTempSubdirectory("vmm-block-").FullName;
        try
        {
            var (raw, qcow) = (Path.Combine(folder, "disk.raw"), Path.Combine(folder, "disk.qcow2"));
            var contents = new byte[Size];
            new Random(1).NextBytes(contents);
            await File.WriteAllBytesAsync(raw, contents);
            await using (var file = RawFileStore.Create(qcow, 0)) await Qcow2Store.CreateAsync(file, Size);
            await using (var image = await DiskImage.OpenAsync(qcow, DiskFormat.Qcow2)) await DiskCopy.CopyAsync(new MemoryStore(contents), image);
            Console.WriteLine($"{Block}-byte random requests, {Depth} in flight; CPU time of all threads; ratio: CPU time of RandomAccess on the raw file / that of the device");
            foreach (var write in (bool[])[false, true])
            {
                var plain = Plain(raw, write);
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {(write ? "write" : "read "),-6} RandomAccess          {1e6 * plain:0.00} us"));
                foreach (var packed in (bool[])[false, true])
                {
                    await MeasureAsync("memory", new MemoryStore(contents), packed, write, plain);
                    await MeasureAsync("raw", RawFileStore.Open(raw), packed, write, plain);
                    await MeasureAsync("qcow2", await DiskImage.OpenAsync(qcow, DiskFormat.Qcow2), packed, write, plain);
                }
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>CPU seconds a request.</summary>
    private static double Plain(string path, bool write)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite);
        var buffer = new byte[Block];
        var before = TimeSpan.Zero;
        var random = new Random(2);
        for (var i = -Requests; i < Requests; i++)
        {
            if (i == 0) before = Environment.CpuUsage.TotalTime;
            var at = random.Next(Size / Block) * (long)Block;
            if (write) RandomAccess.Write(file, buffer, at);
            else RandomAccess.Read(file, buffer, at);
        }

        return (Environment.CpuUsage.TotalTime - before).TotalSeconds / Requests;
    }

    private static async Task MeasureAsync(string name, IBlockStore store, bool packed, bool write, double plain)
    {
        var device = new VirtioBlock(store);
        using var bench = new VirtioBench(device, new VirtioOptions { Packed = packed, QueueSize = 128 });
        bench.Driver.Start(1, 128);
        var queue = bench.Driver.Queues[0];
        var slots = new Dictionary<int, int>(Depth);
        var random = new Random(2);
        for (var slot = 0; slot < Depth; slot++)
        {
            bench.Memory.TryWrite(Header(slot), write ? 1UL : 0UL);
            slots[Submit(bench, queue, slot, write, random)] = slot;
        }

        bench.Transport.Notify(0);
        var (cpu, allocated, started) = (TimeSpan.Zero, 0L, 0L);
        for (var done = -Requests; done < Requests;)
        {
            var took = 0;
            while (queue.TryTakeUsed(out var id, out _))
            {
                if (done++ == 0) (cpu, allocated, started) = (Environment.CpuUsage.TotalTime, GC.GetTotalAllocatedBytes(precise: true), Stopwatch.GetTimestamp());
                slots.Remove(id, out var slot);
                slots[Submit(bench, queue, slot, write, random)] = slot;
                took++;
            }

            if (took > 0 && queue.WantsNotification()) bench.Transport.Notify(0);
            if (took == 0) Thread.Yield();
        }

        var (used, bytes, elapsed) = ((Environment.CpuUsage.TotalTime - cpu).TotalSeconds / Requests, (GC.GetTotalAllocatedBytes(precise: true) - allocated) / (double)Requests, Stopwatch.GetElapsedTime(started).TotalSeconds);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"  {(write ? "write" : "read "),-6} {name,-7} {(packed ? "packed" : "split "),-7} {1e6 * used,8:0.00} us  ratio {plain / used:0.00}  {Requests / elapsed:0} requests/s  {Requests / elapsed * Block / (1 << 20):0} MiB/s  {bytes:0.0} bytes allocated a request"));
        await device.DrainAsync();
        device.Dispose();
    }

    private static ulong Header(int slot) => VirtioBench.Data + (ulong)slot * Stride;

    private static int Submit(VirtioBench bench, DriverQueue queue, int slot, bool write, Random random)
    {
        var at = Header(slot);
        bench.Memory.TryWrite(at + 8, (ulong)random.Next(Size / Block) * (Block / 512));
        return queue.Add(new Buffer(at, 16), new Buffer(at + 0x400, Block, !write), new Buffer(at + 0x20, 1, true));
    }

}
