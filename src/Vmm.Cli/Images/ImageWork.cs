using System.Globalization;
using Vmm.Cli.Commands;
using Vmm.Cli.Terminal;
using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.Devices.Storage.Vmdk;

namespace Vmm.Cli.Images;

/// <summary>What <c>vmm image</c> does.</summary>
internal sealed class ImageWork(HostStreams streams)
{
    // As of qemu-img check.
    private const int Corrupt = 2, Leaks = 3;

    public async Task<int> CreateAsync(string path, DiskFormat format, long size, Qcow2CreateOptions options, bool force)
    {
        await CreateFileAsync(path, format, size, options, force).ConfigureAwait(false);
        return 0;
    }

    public async Task<int> DescribeAsync(string path, DiskFormat format)
    {
        IBlockStore store = format == DiskFormat.Qcow2
            ? await Qcow2Store.OpenForCheckAsync(RawFileStore.Open(path, new RawFileOptions { ReadOnly = true }), path, isWritable: false).ConfigureAwait(false)
            : await OpenAsync(path, format, new DiskOptions { ReadOnly = true }).ConfigureAwait(false);
        await using var closing = store.ConfigureAwait(false);
        Tell("file", path);
        Tell("format", format.ToString().ToLowerInvariant());
        Tell("disk size", $"{store.Length} bytes ({Units.Show((ulong)store.Length)})");
        Tell("file size", $"{new FileInfo(path).Length} bytes");
        switch (store)
        {
            case Qcow2Store image:
                Tell("version", image.Version == 2 ? "2 (compat 0.10)" : "3 (compat 1.1)");
                Tell("cluster size", $"{image.ClusterSize} bytes");
                Tell("compression", image.Compression.ToString().ToLowerInvariant());
                Tell("lazy refcounts", YesNo(image.HasLazyRefcounts));
                Tell("extended L2", YesNo(image.HasExtendedL2));
                Tell("dirty", YesNo(image.IsDirty));
                Tell("corrupt", YesNo(image.IsCorrupt));
                if (image.BackingFile is { } backing) Tell("backing file", $"{backing} ({image.BackingFormat ?? "format not recorded"}), not opened");
                foreach (var snapshot in image.Snapshots) Tell($"snapshot {snapshot.Id}", string.Create(CultureInfo.InvariantCulture, $"{snapshot.Name}, {snapshot.Size} bytes, {snapshot.Taken:yyyy-MM-dd HH:mm:ss}"));
                break;
            case VmdkStore image:
                Tell("kind", image.CreateType);
                break;
        }

        return 0;
    }

    public async Task<int> CheckAsync(string path, DiskFormat format, string? repair)
    {
        if (format != DiskFormat.Qcow2)
        {
            if (repair is not null) throw new CliException(ExitCode.BadArguments, "--repair goes with --format qcow2.");
            return await ReadAllAsync(path, format).ConfigureAwait(false);
        }

        var mends = repair switch { "leaks" => Qcow2Repair.Leaks, "all" => Qcow2Repair.All, _ => Qcow2Repair.None };
        var file = RawFileStore.Open(path, new RawFileOptions { ReadOnly = mends == Qcow2Repair.None });
        var image = await Qcow2Store.OpenForCheckAsync(file, path, mends != Qcow2Repair.None).ConfigureAwait(false);
        await using var closing = image.ConfigureAwait(false);
        Qcow2CheckResult found;
        using (var bar = new ProgressLine(streams, "checking")) found = await image.CheckAsync(mends, bar).ConfigureAwait(false);
        foreach (var message in found.Messages) streams.Text.WriteLine(message);
        streams.Text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{found.Corruptions} errors, {found.Leaks} leaked clusters, {found.Mended} mended; {found.AllocatedClusters} of {found.TotalClusters} clusters allocated, {found.CompressedClusters} compressed."));
        if (found.IsClean) return 0;
        return found.Corruptions > 0 ? Corrupt : Leaks;
    }

    public async Task<int> ConvertAsync(string source, DiskFormat from, DiskOptions how, string target, DiskFormat to, Qcow2CreateOptions options, bool compress, bool force, CancellationToken cancellationToken)
    {
        if (compress && to != DiskFormat.Qcow2) throw new CliException(ExitCode.BadArguments, "--compress goes with --to qcow2.");
        var input = await OpenAsync(source, from, how).ConfigureAwait(false);
        await using var closingInput = input.ConfigureAwait(false);
        await CreateFileAsync(target, to, (input.Length + 511) / 512 * 512, options, force).ConfigureAwait(false);
        try
        {
            var output = await OpenAsync(target, to, new DiskOptions()).ConfigureAwait(false);
            await using var closingOutput = output.ConfigureAwait(false);
            using var bar = new ProgressLine(streams, "converting");
            await DiskCopy.CopyAsync(input, output, compress, bar, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            // Half a disk must not be taken for a whole one.
            File.Delete(target);
            throw;
        }

        return 0;
    }

    public async Task<int> ResizeAsync(string path, DiskFormat format, long size, bool isChange, bool shrink)
    {
        var store = await OpenAsync(path, format, new DiskOptions()).ConfigureAwait(false);
        await using var closing = store.ConfigureAwait(false);
        if (isChange) size += store.Length;
        if (size < store.Length && !shrink) throw new CliException(ExitCode.BadArguments, $"the disk has {store.Length} bytes: what is beyond {size} would be lost. If that is meant, give --shrink.");
        await store.ResizeAsync(size).ConfigureAwait(false);
        return 0;
    }

    private static async Task CreateFileAsync(string path, DiskFormat format, long size, Qcow2CreateOptions options, bool force)
    {
        var file = RawFileStore.Create(path, format == DiskFormat.Raw ? size : 0, force);
        await using var closing = file.ConfigureAwait(false);
        if (format == DiskFormat.Raw) return;
        try
        {
            await Qcow2Store.CreateAsync(file, size, options).ConfigureAwait(false);
        }
        catch
        {
            File.Delete(path);
            throw;
        }
    }

    private static async Task<IBlockStore> OpenAsync(string path, DiskFormat format, DiskOptions options) => await DiskImage.OpenAsync(path, format, options).ConfigureAwait(false);

    private async Task<int> ReadAllAsync(string path, DiskFormat format)
    {
        var store = await OpenAsync(path, format, new DiskOptions { ReadOnly = true }).ConfigureAwait(false);
        await using var closing = store.ConfigureAwait(false);
        using var bar = new ProgressLine(streams, "reading");
        var buffer = new byte[1 << 20];
        for (long at = 0; at < store.Length; at += buffer.Length)
        {
            bar.Report((double)at / store.Length);
            await store.ReadAsync(at, buffer.AsMemory(0, (int)Math.Min(buffer.Length, store.Length - at))).ConfigureAwait(false);
        }

        streams.Text.WriteLine("0 errors: all of it can be read.");
        return 0;
    }

    private void Tell(string name, string value) => streams.Text.WriteLine($"{name + ":",-16} {value}");

    private static string YesNo(bool value) => value ? "yes" : "no";
}
