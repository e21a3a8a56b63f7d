namespace Vmm.Guests.Packages;

/// <summary>One search for a kernel or busybox: what it has tried so far, and how its failure reads.</summary>
internal sealed class ImageSearch(string what, string handName, string option, string goodFile, GuestImageOptions options, string? cacheDirectory, IProgress<GuestProgress>? progress)
{
    private const int ProbeBytes = 4096;

    private readonly List<GuestImageProbe> _probes = [];
    private readonly ImageCache? _cache = cacheDirectory is null ? null : new ImageCache(cacheDirectory);

    public void Missed(string place, string reason) => _probes.Add(new GuestImageProbe(place, reason));

    public T Done<T>(T found, string shown)
    {
        progress?.Report(new GuestProgress(GuestProgressStage.Ready, shown));
        return found;
    }

    /// <summary>The full path if the file can be read and is of the right kind.</summary>
    public string? Probe(string path, ImageJudge judge)
    {
        progress?.Report(new GuestProgress(GuestProgressStage.Probing, path));
        string? problem;
        try
        {
            using FileStream stream = File.OpenRead(path);
            byte[] start = new byte[ProbeBytes];
            problem = judge(start.AsSpan(0, stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            problem = e is FileNotFoundException or DirectoryNotFoundException ? "there is no such file" : e.Message;
        }
        if (problem is null)
            return Path.GetFullPath(path);
        Missed(path, problem);
        return null;
    }

    /// <summary>A file the user put into the cache by hand, as the error text suggests.</summary>
    public string? ByHand(ImageJudge judge) => _cache is null ? null : Probe(Path.Combine(_cache.Directory, handName), judge);

    public async Task<(ImageRecord Record, string Root)?> CachedAsync(string kind, string package, CancellationToken cancellationToken)
    {
        if (_cache is null)
        {
            Missed("cache", "neither VMM_CACHE, XDG_CACHE_HOME nor HOME (LOCALAPPDATA on Windows) is set, so there is none");
            return null;
        }
        progress?.Report(new GuestProgress(GuestProgressStage.Probing, _cache.Directory));
        return await Task.Run(() => _cache.Find(kind, package, _probes), cancellationToken).ConfigureAwait(false);
    }

    public async Task<((ImageRecord Record, string Root) Entry, GuestImageSource Source)> FetchAsync(
        string kind, string package, string? followPrefix, Func<string, (string File, string? Modules)?> describe, CancellationToken cancellationToken)
    {
        if (!options.AllowDownload)
            Missed(package, "downloads are switched off (AllowDownload)");
        if (!options.AllowDownload || _cache is null)
            throw Failure();
        try
        {
            using IDisposable held = await _cache.LockAsync(options.Timeout, () => progress?.Report(new GuestProgress(GuestProgressStage.Waiting, _cache.Directory)), cancellationToken).ConfigureAwait(false);
            // Whoever held the lock may have fetched it.
            if (await Task.Run(() => _cache.Find(kind, package, []), cancellationToken).ConfigureAwait(false) is { } theirs)
                return (theirs, GuestImageSource.Cache);
            string scratch = _cache.CreateScratch();
            try
            {
                return (await FetchIntoAsync(_cache, scratch, kind, package, followPrefix, describe, cancellationToken).ConfigureAwait(false), GuestImageSource.Package);
            }
            finally
            {
                await Task.Run(() => ImageCache.Remove(scratch), CancellationToken.None).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or TimeoutException)
        {
            Missed(_cache.Directory, $"the cache cannot be filled: {e.Message}");
            throw Failure(e);
        }
    }

    public GuestImageException Failure(Exception? inner = null)
    {
        string byHand = cacheDirectory is null ? "" : $", or copy {goodFile} to {Path.Combine(cacheDirectory, handName)}";
        bool noApt = _probes.Any(p => p.Place == options.AptGet && p.Reason.Contains("cannot be run", StringComparison.Ordinal));
        string remedy = $"{(noApt ? "there is no apt-get on this host: " : "")}pass {option}{byHand}{(noApt ? "" : ", or mend what is named above and try again")}.";
        return new GuestImageException(what, [.. _probes], remedy, inner);
    }

    private async Task<(ImageRecord Record, string Root)> FetchIntoAsync(
        ImageCache cache, string scratch, string kind, string package, string? followPrefix, Func<string, (string File, string? Modules)?> describe, CancellationToken cancellationToken)
    {
        string download = Path.Combine(scratch, "download"), unpacked = Path.Combine(scratch, "unpacked");
        Directory.CreateDirectory(download);
        Directory.CreateDirectory(unpacked);
        var apt = new AptPackages(options, Path.Combine(cache.Directory, "apt"), progress);
        if (await apt.FetchAsync(package, followPrefix, download, _probes, cancellationToken).ConfigureAwait(false) is not { } file)
            throw Failure();
        progress?.Report(new GuestProgress(GuestProgressStage.Unpacking, file.Package));
        ToolResult unpack = await Tool.RunAsync(options.DpkgDeb, ["-x", file.Path, unpacked], null, options.Timeout, cancellationToken).ConfigureAwait(false);
        if (unpack.Missing)
            await UnpackByDotNetAsync(file, unpacked, cancellationToken).ConfigureAwait(false);
        else if (!unpack.Succeeded)
            throw Refuse(file, unpack.Problem!);
        if (describe(unpacked) is not { } found)
            throw Refuse(file, $"the package has no {what} where one is expected");
        var record = new ImageRecord(0, package, file.Package, file.Version, found.File, 0, "", found.Modules);
        return await Task.Run(() => cache.Publish(kind, unpacked, scratch, record), cancellationToken).ConfigureAwait(false);
    }

    private async Task UnpackByDotNetAsync(PackageFile file, string unpacked, CancellationToken cancellationToken)
    {
        try
        {
            await Task.Run(() => DebArchive.Unpack(file.Path, unpacked, cancellationToken), cancellationToken).ConfigureAwait(false);
        }
        catch (InvalidDataException e)
        {
            throw Refuse(file, $"there is no {options.DpkgDeb}, and {e.Message}");
        }
    }

    private GuestImageException Refuse(PackageFile file, string reason)
    {
        Missed($"{file.Package} {file.Version}", reason);
        return Failure();
    }
}
