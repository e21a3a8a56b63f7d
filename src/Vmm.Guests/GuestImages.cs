using System.Buffers.Binary;
using Vmm.Guests.Kernels;
using Vmm.Guests.Packages;

namespace Vmm.Guests;

/// <summary>
/// Finds a Linux kernel and a static busybox for guests: a file the caller names, the cache, the host's own, or else a Debian
/// package fetched into the cache. Nothing is installed on the host. Thread-safe, and safe against other processes.
/// </summary>
/// <param name="options">Where to look; null is the defaults.</param>
public sealed class GuestImages(GuestImageOptions? options = null)
{
    private readonly GuestImageOptions _options = options ?? new GuestImageOptions();

    /// <summary>The cache's directory, which may not exist yet; null where the host names no home directory.</summary>
    public string? CacheDirectory => ImageCache.Locate(_options, Environment.GetEnvironmentVariable);

    /// <summary>Finds a kernel: <paramref name="path"/>, the cache, /boot, or the package.</summary>
    /// <param name="path">A bzImage or ELF vmlinux; if given, nothing else is tried.</param>
    /// <param name="progress">Told what is being done, from any thread.</param>
    /// <param name="cancellationToken">Stops the search and its child processes; nothing half-made stays.</param>
    /// <returns>The kernel.</returns>
    /// <exception cref="GuestImageException">None was found; says why and what to do.</exception>
    public async Task<GuestKernel> FindKernelAsync(string? path = null, IProgress<GuestProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        var search = new ImageSearch("Linux kernel", "vmlinuz", "--kernel FILE", "a bzImage", _options, CacheDirectory, progress);
        if (path is not null)
            return search.Probe(path, KernelProblem) is { } full ? new GuestKernel(full, GuestImageSource.Explicit) : throw search.Failure();
        if (search.ByHand(KernelProblem) is { } byHand)
            return search.Done(new GuestKernel(byHand, GuestImageSource.Cache), byHand);
        if (await search.CachedAsync("kernel", _options.KernelPackage, cancellationToken).ConfigureAwait(false) is { } cached)
            return search.Done(Kernel(cached, GuestImageSource.Cache), cached.Record.Package);
        if (HostKernel(search) is { } host)
            return search.Done(host, host.Path);
        var fetched = await search.FetchAsync("kernel", _options.KernelPackage, "linux-image-", DescribeKernel, cancellationToken).ConfigureAwait(false);
        return search.Done(Kernel(fetched.Entry, fetched.Source), fetched.Entry.Record.Package);
    }

    /// <summary>Finds a static x86-64 busybox: <paramref name="path"/>, the cache, the host's, or the package.</summary>
    /// <param name="path">A program file; if given, nothing else is tried.</param>
    /// <param name="progress">Told what is being done, from any thread.</param>
    /// <param name="cancellationToken">Stops the search and its child processes; nothing half-made stays.</param>
    /// <returns>The busybox.</returns>
    /// <exception cref="GuestImageException">None was found; says why and what to do.</exception>
    public async Task<GuestBusybox> FindBusyboxAsync(string? path = null, IProgress<GuestProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        var search = new ImageSearch("static busybox", "busybox", "--busybox FILE", "a static x86-64 busybox", _options, CacheDirectory, progress);
        if (path is not null)
            return search.Probe(path, BusyboxProblem) is { } full ? new GuestBusybox(full, GuestImageSource.Explicit) : throw search.Failure();
        if (search.ByHand(BusyboxProblem) is { } byHand)
            return search.Done(new GuestBusybox(byHand, GuestImageSource.Cache), byHand);
        if (await search.CachedAsync("busybox", _options.BusyboxPackage, cancellationToken).ConfigureAwait(false) is { } cached)
            return search.Done(Busybox(cached, GuestImageSource.Cache), cached.Record.Package);
        foreach (string candidate in _options.HostBusyboxes)
        {
            if (search.Probe(candidate, BusyboxProblem) is { } host)
                return search.Done(new GuestBusybox(host, GuestImageSource.Host), host);
        }
        var fetched = await search.FetchAsync("busybox", _options.BusyboxPackage, null, DescribeBusybox, cancellationToken).ConfigureAwait(false);
        return search.Done(Busybox(fetched.Entry, fetched.Source), fetched.Entry.Record.Package);
    }

    /// <summary>
    /// Finds Debian packages for a guest, with the shared libraries their programs need: in the cache, or fetched into it by apt. Nothing is
    /// installed and no package's script is run. A program in a script language needs that language's packages named as well.
    /// </summary>
    /// <param name="names">Package names, such as "fio" or "e2fsprogs".</param>
    /// <param name="progress">Told what is being done, from any thread.</param>
    /// <param name="cancellationToken">Stops the search and its child processes; nothing half-made stays.</param>
    /// <returns>Their files.</returns>
    /// <exception cref="GuestImageException">A package or a library could not be had; says why and what to do.</exception>
    public async Task<GuestPackages> FindPackagesAsync(IEnumerable<string> names, IProgress<GuestProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(names);
        string[] wanted = [.. names.Distinct()];
        string what = $"Debian package \"{string.Join(' ', wanted)}\" with its libraries";
        const string remedy = "use a Debian-like host with apt and dpkg, check the names, or mend what is named above and try again.";
        var problems = new List<GuestImageProbe>();
        if (CacheDirectory is not { } directory)
            throw new GuestImageException(what, [new GuestImageProbe("cache", "neither VMM_CACHE, XDG_CACHE_HOME nor HOME is set, so there is none")], "set VMM_CACHE to a directory.");
        var store = new PackageStore(_options, new ImageCache(directory), progress);
        var closure = new PackageClosure(async missing => await store.GetAsync(missing, problems, cancellationToken).ConfigureAwait(false));
        try
        {
            GuestPackages packages = await closure.TakeAsync(wanted).ConfigureAwait(false);
            problems.AddRange(closure.Missing);
            if (closure.Missing.Any() || !wanted.All(closure.Has))
                throw new GuestImageException(what, [.. problems], remedy);
            progress?.Report(new GuestProgress(GuestProgressStage.Ready, string.Join(' ', wanted)));
            return packages;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or TimeoutException)
        {
            throw new GuestImageException(what, [.. problems, new GuestImageProbe(directory, e.Message)], remedy, e);
        }
    }

    private static GuestKernel Kernel((ImageRecord Record, string Root) entry, GuestImageSource source) => new(Path.Combine(entry.Root, entry.Record.File), source)
    {
        Package = entry.Record.Package,
        PackageVersion = entry.Record.Version,
        ModulesDirectory = entry.Record.Modules is null ? null : Path.Combine(entry.Root, entry.Record.Modules),
    };

    private static GuestBusybox Busybox((ImageRecord Record, string Root) entry, GuestImageSource source) => new(Path.Combine(entry.Root, entry.Record.File), source)
    {
        Package = entry.Record.Package,
        PackageVersion = entry.Record.Version,
    };

    private static string? KernelProblem(ReadOnlySpan<byte> start) => start switch
    {
        _ when VmlinuxExtractor.IsBzImage(start) => null,
        _ when VmlinuxExtractor.IsElf(start) && IsElf64X64(start) => null,
        _ => "it is neither a bzImage nor an ELF vmlinux for x86-64",
    };

    private static string? BusyboxProblem(ReadOnlySpan<byte> start)
    {
        if (!IsElf64X64(start))
            return "it is not an x86-64 ELF program";
        const uint interpreter = 3;
        ulong table = BinaryPrimitives.ReadUInt64LittleEndian(start[32..]);
        int size = BinaryPrimitives.ReadUInt16LittleEndian(start[54..]), count = BinaryPrimitives.ReadUInt16LittleEndian(start[56..]);
        if (size != 56 || count == 0 || table > (ulong)start.Length || (ulong)(size * count) > (ulong)start.Length - table)
            return "its ELF program headers are not where a program's are";
        for (int i = 0; i < count; i++)
        {
            if (BinaryPrimitives.ReadUInt32LittleEndian(start[((int)table + i * size)..]) == interpreter)
                return "it is dynamically linked, and a guest without its libraries cannot run it";
        }
        return null;
    }

    private static bool IsElf64X64(ReadOnlySpan<byte> start) =>
        start.Length >= 64 && VmlinuxExtractor.IsElf(start) && start[4] == 2 && start[5] == 1 && BinaryPrimitives.ReadUInt16LittleEndian(start[18..]) == 62;

    private static (string File, string? Modules)? DescribeKernel(string root)
    {
        string boot = Path.Combine(root, "boot");
        string? file = Directory.Exists(boot) ? Directory.EnumerateFiles(boot, "vmlinuz-*").Max(NaturalOrder.Instance) : null;
        if (file is null)
            return null;
        string release = Path.GetFileName(file)["vmlinuz-".Length..];
        // Debian before and after the merge of / and /usr.
        string? modules = new[] { $"lib/modules/{release}", $"usr/lib/modules/{release}" }.FirstOrDefault(m => Directory.Exists(Path.Combine(root, m)));
        return (Path.GetRelativePath(root, file), modules);
    }

    private static (string File, string? Modules)? DescribeBusybox(string root) =>
        new[] { "bin/busybox", "usr/bin/busybox" }.FirstOrDefault(f => File.Exists(Path.Combine(root, f))) is { } file ? (file, null) : null;

    private GuestKernel? HostKernel(ImageSearch search)
    {
        if (_options.BootDirectory is not { } boot)
            return null;
        string[] candidates = [];
        try
        {
            if (Directory.Exists(boot))
                candidates = [.. Directory.EnumerateFiles(boot, "vmlinuz-*").OrderByDescending(f => f, NaturalOrder.Instance)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            search.Missed(boot, e.Message);
            return null;
        }
        if (candidates.Length == 0)
            search.Missed(Path.Combine(boot, "vmlinuz-*"), "there is none");
        foreach (string candidate in candidates)
        {
            if (search.Probe(candidate, KernelProblem) is not { } path)
                continue;
            string modules = Path.Combine(_options.HostModulesDirectory, Path.GetFileName(candidate)["vmlinuz-".Length..]);
            return new GuestKernel(path, GuestImageSource.Host) { ModulesDirectory = Directory.Exists(modules) ? modules : null };
        }
        return null;
    }
}
