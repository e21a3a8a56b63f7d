using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.Devices.Storage.Vhdx;
using Vmm.Devices.Storage.Vmdk;
using Vmm.Storage.Tests.Support;

namespace Vmm.Storage.Tests.Formats;

/// <summary>
/// Damaged images: a typed error that names the field, or data; never another exception, a hang, a request outside the file or memory
/// without bound. VMM_TEST_MUTATIONS sets how many of each.
/// </summary>
public class MutationTests
{
    private static int Count => int.TryParse(Environment.GetEnvironmentVariable("VMM_TEST_MUTATIONS"), out var n) ? n : 100;

    [Theory]
    [InlineData("qcow2", "compat=1.1,cluster_size=4k")]
    [InlineData("qcow2", "compat=1.1,extended_l2=on,cluster_size=16k")]
    [InlineData("qcow2", "compressed")]
    [InlineData("vhdx", "subformat=dynamic,block_size=1M")]
    [InlineData("vmdk", "subformat=monolithicSparse")]
    [InlineData("vmdk", "subformat=streamOptimized")]
    public async Task DamagedImage_GivesATypedErrorOrData(string format, string options)
    {
        QemuImg.Require();
        using var folder = new ScratchFolder();
        var image = Make(folder, format, options);
        int refused = 0, served = 0;
        for (var seed = 0; seed < Count; seed++)
        {
            var random = new Random(seed);
            var damaged = (byte[])image.Clone();
            Damage(damaged, random, format);
            var before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                await UseAsync(damaged, format, seed % 2 == 0);
                served++;
            }
            catch (ImageFormatException e)
            {
                Assert.NotEmpty(e.Place);
                refused++;
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException)
            {
                Assert.Fail($"{format} {options}, seed {seed}: {e}");
            }

            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 512 << 20, $"Seed {seed} took {GC.GetAllocatedBytesForCurrentThread() - before} bytes.");
        }

        Assert.True(refused > 0 && served > 0, $"{refused} refused, {served} served: the damage is too much or too little.");
    }

    private static byte[] Make(ScratchFolder folder, string format, string options)
    {
        var contents = new byte[3 << 20];
        new Random(1).NextBytes(contents.AsSpan(0, 200_000));
        for (var i = 1 << 20; i < (1 << 20) + 100_000; i++) contents[i] = (byte)(i / 100);
        File.WriteAllBytes(folder["disk.raw"], contents);
        var path = folder["disk." + format];
        if (options == "compressed") QemuImg.Run("convert", "-c", "-f", "raw", "-O", format, "-o", "cluster_size=16k", folder["disk.raw"], path);
        else QemuImg.Run("convert", "-f", "raw", "-O", format, "-o", options, folder["disk.raw"], path);
        if (format == "qcow2") QemuImg.Run("snapshot", "-c", "one", path);
        return File.ReadAllBytes(path);
    }

    /// <summary>Headers and tables: the front of the file, and whatever is not the random contents.</summary>
    private static void Damage(byte[] image, Random random, string format)
    {
        var places = format switch
        {
            "vhdx" => new[] { (0, 32), (64 << 10, 80), (128 << 10, 80), (192 << 10, 96), (1 << 20, 512), (2 << 20, 1024), (3 << 20, 256) },
            "vmdk" => [(0, 80), (512, 600), (10240, 4096), (21 * 512, 8192), (Math.Max(0, image.Length - 1536), 1536)],
            _ => [(0, 120), (0, 4096), (4096, 256), (8192, 512), (12288, 64), (16384, 4096), (65536, 256), (image.Length / 2, 512), (Math.Max(0, image.Length - 8192), 8192)],
        };
        for (var changes = random.Next(1, 4); changes > 0; changes--)
        {
            var (start, length) = places[random.Next(places.Length)];
            var at = Math.Min(start + random.Next(length), image.Length - 8);
            switch (random.Next(4))
            {
                case 0:
                    image[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    image[at] = (byte)random.Next(256);
                    break;
                case 2:
                    image.AsSpan(at & ~7, 8).Fill((byte)(random.Next(2) * 255));
                    break;
                default:
                    image.AsSpan(random.Next(image.Length / 8) * 8, 8).CopyTo(image.AsSpan(at & ~7));
                    break;
            }
        }
    }

    private static async Task UseAsync(byte[] bytes, string format, bool writes)
    {
        var file = new MemoryStore(bytes, isReadOnly: !writes);
        await using IBlockStore image = format switch
        {
            "vhdx" => await VhdxStore.OpenAsync(file, "disk"),
            "vmdk" => await VmdkStore.OpenAsync(file, "disk"),
            _ => await Qcow2Store.OpenAsync(file, "disk"),
        };
        var buffer = new byte[256 << 10];
        for (long at = 0; at < Math.Min(image.Length, 8 << 20); at += buffer.Length) await image.ReadAsync(at, buffer.AsMemory(0, (int)Math.Min(buffer.Length, image.Length - at)));
        if (image.Length > 4096) await image.ReadAsync(image.Length - 4096, buffer.AsMemory(0, 4096));
        if (image is not Qcow2Store qcow) return;
        if (qcow.Length < 4 << 20) await qcow.CheckAsync();
        if (image.IsReadOnly) return;
        for (long at = 0; at < Math.Min(image.Length - 5000, 4 << 20); at += 250_000) await image.WriteAsync(at, buffer.AsMemory(0, 5000));
        await image.DiscardAsync(0, Math.Min(image.Length, 1 << 20));
        await image.FlushAsync();
    }
}
