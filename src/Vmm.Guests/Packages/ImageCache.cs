using System.Security.Cryptography;
using System.Text.Json;

namespace Vmm.Guests.Packages;

/// <summary>
/// The directory of fetched images. An entry appears whole, by a rename, and is checked before use; a lock file lets only one
/// process at a time fill the cache, and a reader never needs it.
/// </summary>
internal sealed class ImageCache(string directory)
{
    private const int CurrentFormat = 1;
    private static readonly TimeSpan RetryInterval = TimeSpan.FromMilliseconds(100), StaleAfter = TimeSpan.FromDays(1);

    public string Directory { get; } = directory;

    /// <summary>The cache's place as options and environment give it, or null where none of them does.</summary>
    public static string? Locate(GuestImageOptions options, Func<string, string?> environment)
    {
        if (!string.IsNullOrEmpty(options.CacheDirectory))
            return Path.GetFullPath(options.CacheDirectory);
        if (environment("VMM_CACHE") is { Length: > 0 } chosen)
            return Path.GetFullPath(chosen);
        if (OperatingSystem.IsWindows())
            return environment("LOCALAPPDATA") is { Length: > 0 } local ? Path.Combine(local, "vmm") : null;
        // The XDG base directory specification says to ignore relative paths.
        if (environment("XDG_CACHE_HOME") is { Length: > 0 } xdg && Path.IsPathRooted(xdg))
            return Path.Combine(xdg, "vmm");
        return environment("HOME") is { Length: > 0 } home && Path.IsPathRooted(home) ? Path.Combine(home, ".cache", "vmm") : null;
    }

    /// <summary>The newest sound entry of a kind.</summary>
    /// <param name="kind">"kernel", "busybox" or "package".</param>
    /// <param name="requested">The package asked for.</param>
    /// <param name="problems">Gets one entry for each damaged one, or one if there is none at all.</param>
    /// <param name="pattern">Which of the kind's directories to look at.</param>
    public (ImageRecord Record, string Root)? Find(string kind, string requested, List<GuestImageProbe> problems, string pattern = "*")
    {
        string kindDirectory = Path.Combine(Directory, kind);
        if (!System.IO.Directory.Exists(kindDirectory))
        {
            problems.Add(new GuestImageProbe(kindDirectory, "nothing is cached there"));
            return null;
        }
        int before = problems.Count;
        try
        {
            foreach (string root in System.IO.Directory.EnumerateDirectories(kindDirectory, pattern).OrderByDescending(d => d, NaturalOrder.Instance))
            {
                if (Check(root, requested, out string? problem) is { } record)
                    return (record, root);
                if (problem is not null)
                    problems.Add(new GuestImageProbe(root, problem));
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            problems.Add(new GuestImageProbe(kindDirectory, e.Message));
        }
        if (problems.Count == before)
            problems.Add(new GuestImageProbe(kindDirectory, $"it has no {requested}"));
        return null;
    }

    /// <summary>Takes the right to fill the cache; waits for whoever has it.</summary>
    /// <exception cref="TimeoutException">It was not given up in time.</exception>
    public async Task<IDisposable> LockAsync(TimeSpan timeout, Action waiting, CancellationToken cancellationToken)
    {
        System.IO.Directory.CreateDirectory(Directory);
        string path = Path.Combine(Directory, ".lock");
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(timeout);
        bool told = false;
        while (true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (File.Exists(path))
            {
                if (!told)
                    waiting();
                told = true;
            }
            try
            {
                await Task.Delay(RetryInterval, limit.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                throw new TimeoutException($"another process has held {path} for {timeout.TotalSeconds:f0} s");
            }
        }
    }

    /// <summary>A fresh directory on the same file system as the entries. What crashed processes left for a day is removed.</summary>
    public string CreateScratch()
    {
        string scratch = Path.Combine(Directory, "tmp");
        System.IO.Directory.CreateDirectory(scratch);
        foreach (string old in System.IO.Directory.EnumerateDirectories(scratch))
        {
            if (DateTime.UtcNow - System.IO.Directory.GetLastWriteTimeUtc(old) > StaleAfter)
                Remove(old);
        }
        string fresh = Path.Combine(scratch, Guid.NewGuid().ToString("n"));
        System.IO.Directory.CreateDirectory(fresh);
        return fresh;
    }

    /// <summary>Puts an unpacked package in its place, unless another process was quicker; a damaged one there is replaced.</summary>
    /// <param name="kind">"kernel", "busybox" or "package".</param>
    /// <param name="unpacked">Its directory in <paramref name="scratch"/>.</param>
    /// <param name="scratch">From <see cref="CreateScratch"/>.</param>
    /// <param name="record">Its record, with <see cref="ImageRecord.Length"/> and <see cref="ImageRecord.Sha256"/> still to fill.</param>
    public (ImageRecord Record, string Root) Publish(string kind, string unpacked, string scratch, ImageRecord record)
    {
        string file = Path.Combine(unpacked, record.File);
        record = record with { Format = CurrentFormat, Length = new FileInfo(file).Length, Sha256 = Hash(file) };
        File.WriteAllText(Path.Combine(unpacked, "record.json"), JsonSerializer.Serialize(record, ImageRecordJson.Default.ImageRecord));
        string parent = Path.Combine(Directory, kind);
        System.IO.Directory.CreateDirectory(parent);
        string root = Path.Combine(parent, $"{record.Package}_{Uri.EscapeDataString(record.Version)}");
        if (System.IO.Directory.Exists(root))
        {
            if (Check(root, record.Requested, out _) is { } theirs)
                return (theirs, root);
            System.IO.Directory.Move(root, Path.Combine(scratch, "damaged"));
        }
        try
        {
            System.IO.Directory.Move(unpacked, root);
        }
        catch (IOException) when (Check(root, record.Requested, out _) is not null)
        {
            // On a file system without locks another process can be first; its entry is as good.
        }
        return (record, root);
    }

    /// <summary>Removes a directory as far as it goes; what stays is litter, not damage.</summary>
    public static void Remove(string path)
    {
        try
        {
            System.IO.Directory.Delete(path, recursive: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // CreateScratch tries again after a day.
        }
    }

    private static ImageRecord? Check(string root, string requested, out string? problem)
    {
        problem = null;
        try
        {
            ImageRecord? record = JsonSerializer.Deserialize(File.ReadAllBytes(Path.Combine(root, "record.json")), ImageRecordJson.Default.ImageRecord);
            if (record is null || record.Format != CurrentFormat || string.IsNullOrEmpty(record.File))
            {
                problem = "its record.json is of another format";
                return null;
            }
            // Another package of the same kind: not damaged, just not wanted.
            if (record.Requested != requested)
                return null;
            string full = Path.GetFullPath(Path.Combine(root, record.File));
            if (!full.StartsWith(Path.GetFullPath(root) + Path.DirectorySeparatorChar, StringComparison.Ordinal))
                problem = "its record.json names a file outside it";
            else if (new FileInfo(full) is not { Exists: true } file || file.Length != record.Length)
                problem = $"{record.File} is missing or cut short";
            else if (Hash(full) != record.Sha256)
                problem = $"{record.File} has changed since it was fetched";
            else if (record.Modules is not null && !System.IO.Directory.Exists(Path.Combine(root, record.Modules)))
                problem = $"{record.Modules} is missing";
            return problem is null ? record : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            problem = $"it is damaged: {e.Message}";
            return null;
        }
    }

    private static string Hash(string file)
    {
        using FileStream stream = File.OpenRead(file);
        return Convert.ToHexString(SHA256.HashData(stream));
    }
}
