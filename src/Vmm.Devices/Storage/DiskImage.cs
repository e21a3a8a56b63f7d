using Vmm.Devices.Storage.Qcow2;
using Vmm.Devices.Storage.Vhdx;
using Vmm.Devices.Storage.Vmdk;

namespace Vmm.Devices.Storage;

/// <summary>Opens disk images by path.</summary>
public static class DiskImage
{
    // QEMU's own images seldom lie over more than a few; each keeps a file and tables open.
    private const int MaximumDepth = 16;

    /// <summary>Opens an image of a stated format.</summary>
    /// <param name="path">Its file.</param>
    /// <param name="format">Its format; it is never guessed.</param>
    /// <param name="options">How; null to read and write, without backing files.</param>
    /// <exception cref="IOException">The file is not there, or is open elsewhere.</exception>
    /// <exception cref="ImageFormatException">The image is malformed, damaged, not served, or names a backing file that is not allowed.</exception>
    public static ValueTask<IBlockStore> OpenAsync(string path, DiskFormat format, DiskOptions? options = null) => OpenAsync(path, format, options ?? new DiskOptions(), 0);

    private static async ValueTask<IBlockStore> OpenAsync(string path, DiskFormat format, DiskOptions options, int depth)
    {
        var readOnly = options.ReadOnly || format is DiskFormat.Vhdx or DiskFormat.Vmdk || options.Snapshot is not null;
        if (options.Direct && format != DiskFormat.Raw) throw new ArgumentException("Only raw images are opened past the page cache.", nameof(options));
        if (options.Snapshot is not null && format != DiskFormat.Qcow2) throw new ArgumentException("Only qcow2 images have internal snapshots.", nameof(options));
        var file = RawFileStore.Open(path, new RawFileOptions { ReadOnly = readOnly, Direct = options.Direct });
        switch (format)
        {
            case DiskFormat.Raw:
                return file;
            case DiskFormat.Vhdx:
                return await VhdxStore.OpenAsync(file, path).ConfigureAwait(false);
            case DiskFormat.Vmdk:
                return await VmdkStore.OpenAsync(file, path, name => OpenFlat(path, name)).ConfigureAwait(false);
            default:
                IBlockStore? backing = null;
                try
                {
                    if (options.BackingFolder is { } folder) backing = await OpenBackingAsync(file, path, folder, depth).ConfigureAwait(false);
                }
                catch
                {
                    await file.DisposeAsync().ConfigureAwait(false);
                    throw;
                }

                return await Qcow2Store.OpenAsync(file, path, new Qcow2Options { ReadOnly = readOnly, Backing = backing, Snapshot = options.Snapshot }).ConfigureAwait(false);
        }
    }

    private static async ValueTask<IBlockStore?> OpenBackingAsync(IBlockStore file, string path, string folder, int depth)
    {
        var header = await Qcow2Header.ReadAsync(file, path).ConfigureAwait(false);
        if (header.BackingFile is not { } name) return null;
        ImageFormatException Refuse(string reason) => new(path, "backing_file_offset", $"the backing file '{name}' is refused: {reason}");
        if (depth >= MaximumDepth) throw Refuse($"the chain is longer than {MaximumDepth} images, or a loop");
        DiskFormat format = header.BackingFormat switch
        {
            "raw" => DiskFormat.Raw,
            "qcow2" => DiskFormat.Qcow2,
            null => throw Refuse("its format is not recorded, and formats are never guessed"),
            _ => throw Refuse($"its format '{header.BackingFormat}' is not raw or qcow2"),
        };

        // "json:...", "nbd:..." and "host:path" are no files; nor are UNC paths and devices of Windows.
        if (name.Contains(':') || name.Contains('\0') || name.StartsWith(@"\\", StringComparison.Ordinal) || name.StartsWith("//", StringComparison.Ordinal)) throw Refuse("it is not a plain path");
        var root = Real(Path.GetFullPath(folder));
        var full = Real(Path.GetFullPath(name, Path.GetDirectoryName(Path.GetFullPath(path))!));
        if (!full.StartsWith(root.TrimEnd(Path.DirectorySeparatorChar) + Path.DirectorySeparatorChar, StringComparison.Ordinal)) throw Refuse($"it is not in the folder '{folder}'");
        return await OpenAsync(full, format, new DiskOptions { ReadOnly = true, BackingFolder = folder }, depth + 1).ConfigureAwait(false);
    }

    /// <summary>A path with all its links followed.</summary>
    private static string Real(string path)
    {
        var parent = Path.GetDirectoryName(path);
        if (parent is null) return path;
        var here = Path.Combine(Real(parent), Path.GetFileName(path));
        FileSystemInfo entry = Directory.Exists(here) ? new DirectoryInfo(here) : new FileInfo(here);
        return entry.Exists || entry.LinkTarget is not null ? entry.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? here : here;
    }

    /// <summary>The bytes of a flat VMDK: the one file beside it whose name follows from its own.</summary>
    private static RawFileStore OpenFlat(string path, string name)
    {
        var expected = Path.GetFileNameWithoutExtension(path) + "-flat.vmdk";
        if (name != expected) throw new ImageFormatException(path, "extent", $"the bytes are in '{name}', and only '{expected}' beside the descriptor is opened");
        var file = new FileInfo(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, expected));
        if (file.LinkTarget is not null) throw new ImageFormatException(path, "extent", $"'{expected}' is a link, and those are not followed");
        return RawFileStore.Open(file.FullName, new RawFileOptions { ReadOnly = true });
    }
}
