using System.Globalization;
using Vmm.Cli.Images;
using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;

namespace Vmm.Cli.Commands;

/// <summary>What <c>--disk</c> was given: a file, its format, and how the guest gets it.</summary>
internal sealed record DiskArgument(string File, DiskFormat Format)
{
    public const string Syntax = "FILE,format=raw|qcow2|vhdx|vmdk[,readonly][,overlay[=FILE]][,serial=TEXT][,iops=N][,bps=SIZE][,direct][,backing=FOLDER][,snapshot=ID]";

    public bool ReadOnly { get; init; }

    /// <summary>Changes go elsewhere: to memory, or to the qcow2 image <see cref="OverlayFile"/>.</summary>
    public bool Overlay { get; init; }

    public string? OverlayFile { get; init; }

    public string Serial { get; init; } = "";

    public long? OperationsPerSecond { get; init; }

    public long? BytesPerSecond { get; init; }

    public bool Direct { get; init; }

    public string? BackingFolder { get; init; }

    public string? Snapshot { get; init; }

    /// <summary>Whether the guest can change the disk.</summary>
    public bool IsGuestReadOnly => !Overlay && (ReadOnly || Snapshot is not null || Format is DiskFormat.Vhdx or DiskFormat.Vmdk);

    /// <summary>Reads the option's value; what is wrong with it comes as an error.</summary>
    public static DiskArgument? Parse(string text, Action<string> error)
    {
        var parts = text.Split(',');
        DiskFormat? format = null;
        var disk = new DiskArgument(parts[0], DiskFormat.Raw);
        if (parts[0].Length == 0) error("it names no file");
        foreach (var part in parts[1..])
        {
            var (name, value) = part.IndexOf('=') is >= 0 and var at ? (part[..at], part[(at + 1)..]) : (part, null);
            switch (name)
            {
                case "format" when value is not null && DiskNames.Parse(value) is { } known:
                    format = known;
                    break;
                case "readonly" when value is null:
                    disk = disk with { ReadOnly = true };
                    break;
                case "overlay" when value is not "":
                    disk = disk with { Overlay = true, OverlayFile = value };
                    break;
                case "serial" when value is { Length: > 0 and <= 20 } && value.All(char.IsAscii):
                    disk = disk with { Serial = value };
                    break;
                case "iops" when long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var operations) && operations > 0:
                    disk = disk with { OperationsPerSecond = operations };
                    break;
                case "bps" when value is not null && Units.Size(value) is > 0 and <= long.MaxValue and var bytes:
                    disk = disk with { BytesPerSecond = (long)bytes };
                    break;
                case "direct" when value is null:
                    disk = disk with { Direct = true };
                    break;
                case "backing" when value is { Length: > 0 }:
                    disk = disk with { BackingFolder = value };
                    break;
                case "snapshot" when value is { Length: > 0 }:
                    disk = disk with { Snapshot = value };
                    break;
                default:
                    error($"'{part}' is not understood; the form is {Syntax}");
                    return null;
            }
        }

        if (format is null) error("it does not state the format, which is never guessed: add ,format=raw (or qcow2, vhdx, vmdk)");
        return disk with { Format = format ?? DiskFormat.Raw };
    }

    /// <summary>Opens the disk as the guest shall have it.</summary>
    public async Task<IBlockStore> OpenAsync()
    {
        var isBase = Overlay || IsGuestReadOnly;
        var store = await DiskImage.OpenAsync(File, Format, new DiskOptions { ReadOnly = isBase, Direct = Direct, BackingFolder = BackingFolder, Snapshot = Snapshot }).ConfigureAwait(false);
        if (!Overlay) return store;
        if (OverlayFile is not { } path) return new OverlayStore(store);
        RawFileStore file;
        try
        {
            if (System.IO.File.Exists(path))
            {
                file = RawFileStore.Open(path);
            }
            else
            {
                file = RawFileStore.Create(path, 0);
                var name = Format is DiskFormat.Raw or DiskFormat.Qcow2 && Snapshot is null ? Path.GetFullPath(File) : null;
                await Qcow2Store.CreateAsync(file, store.Length / 512 * 512, new Qcow2CreateOptions { BackingFile = name, BackingFormat = name is null ? null : Format == DiskFormat.Raw ? "raw" : "qcow2" }).ConfigureAwait(false);
            }
        }
        catch
        {
            await store.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        return await Qcow2Store.OpenAsync(file, path, new Qcow2Options { Backing = store }).ConfigureAwait(false);
    }
}
