namespace Vmm.Guests.Packages;

/// <summary>Packages unpacked in the cache, fetched by apt where they are not there yet.</summary>
internal sealed class PackageStore(GuestImageOptions options, ImageCache cache, IProgress<GuestProgress>? progress)
{
    private const string Kind = "package";

    /// <summary>Finds or fetches packages.</summary>
    /// <param name="names">Their names.</param>
    /// <param name="problems">Gets one entry for each that could not be had, and why.</param>
    /// <param name="cancellationToken">Stops it; nothing half-made stays.</param>
    /// <returns>Those that there are; a virtual package, say, is not.</returns>
    public async Task<IReadOnlyList<UnpackedPackage>> GetAsync(IReadOnlyList<string> names, List<GuestImageProbe> problems, CancellationToken cancellationToken)
    {
        var found = new List<UnpackedPackage>();
        List<string> missing = Cached(names, found);
        if (missing.Count == 0)
            return found;
        if (!options.AllowDownload)
        {
            problems.Add(new GuestImageProbe(string.Join(' ', missing), "downloads are switched off (AllowDownload)"));
            return found;
        }
        using IDisposable held = await cache.LockAsync(options.Timeout, () => progress?.Report(new GuestProgress(GuestProgressStage.Waiting, cache.Directory)), cancellationToken).ConfigureAwait(false);
        // Whoever held the lock may have fetched some.
        missing = Cached(missing, found);
        if (missing.Count == 0)
            return found;
        string scratch = cache.CreateScratch();
        try
        {
            string download = Path.Combine(scratch, "download");
            Directory.CreateDirectory(download);
            var apt = new AptPackages(options, Path.Combine(cache.Directory, "apt"), progress);
            foreach ((PackageFile file, string control) in await apt.FetchManyAsync(missing, download, problems, cancellationToken).ConfigureAwait(false))
            {
                if (await UnpackAsync(file, control, scratch, problems, cancellationToken).ConfigureAwait(false) is { } package)
                    found.Add(package);
            }
            return found;
        }
        finally
        {
            await Task.Run(() => ImageCache.Remove(scratch), CancellationToken.None).ConfigureAwait(false);
        }
    }

    private List<string> Cached(IReadOnlyList<string> names, List<UnpackedPackage> found)
    {
        var missing = new List<string>();
        foreach (string name in names)
        {
            if (cache.Find(Kind, name, [], name + "_*") is { } entry)
                found.Add(UnpackedPackage.Open(entry.Record, entry.Root));
            else
                missing.Add(name);
        }
        return missing;
    }

    private async Task<UnpackedPackage?> UnpackAsync(PackageFile file, string control, string scratch, List<GuestImageProbe> problems, CancellationToken cancellationToken)
    {
        progress?.Report(new GuestProgress(GuestProgressStage.Unpacking, file.Package));
        string unpacked = Path.Combine(scratch, "unpacked-" + file.Package), own = Path.Combine(scratch, "own-" + file.Package);
        string files = Path.Combine(unpacked, UnpackedPackage.FilesDirectory);
        Directory.CreateDirectory(files);
        Directory.CreateDirectory(own);
        // Shared libraries come with symbolic links, which only dpkg-deb unpacks.
        ToolResult unpack = await Tool.RunAsync(options.DpkgDeb, ["-x", file.Path, files], null, options.Timeout, cancellationToken).ConfigureAwait(false);
        if (!unpack.Succeeded)
        {
            problems.Add(new GuestImageProbe($"{file.Package} {file.Version}", unpack.Problem!));
            return null;
        }
        File.Delete(file.Path);
        File.WriteAllText(Path.Combine(unpacked, UnpackedPackage.ControlFile), control);
        var record = new ImageRecord(0, file.Package, file.Package, file.Version, UnpackedPackage.ControlFile, 0, "", null);
        (ImageRecord published, string root) = await Task.Run(() => cache.Publish(Kind, unpacked, own, record), cancellationToken).ConfigureAwait(false);
        return UnpackedPackage.Open(published, root);
    }
}
