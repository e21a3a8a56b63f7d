// Debian Policy section 5 (control fields, of `apt-cache show`) and apt-get(8).
using System.Globalization;
using System.Text.RegularExpressions;

namespace Vmm.Guests.Packages;

/// <summary>Fetches Debian packages through the host's apt without installing anything.</summary>
internal sealed partial class AptPackages(GuestImageOptions options, string privateLists, IProgress<GuestProgress>? progress)
{
    private static readonly TimeSpan ProgressInterval = TimeSpan.FromMilliseconds(250);

    /// <summary>
    /// Fetches a package, following a metapackage to the one it stands for. Where apt's lists are missing or too old, lists
    /// of our own are fetched into the cache, which needs no root and leaves the host's alone.
    /// </summary>
    /// <param name="package">The package's name.</param>
    /// <param name="followPrefix">If not null, a dependency whose name starts so is fetched in its place.</param>
    /// <param name="directory">An empty directory for the file.</param>
    /// <param name="problems">Gets one entry for each way that failed.</param>
    /// <param name="cancellationToken">Ends child processes and throws.</param>
    /// <returns>The file, or null.</returns>
    public async Task<PackageFile?> FetchAsync(string package, string? followPrefix, string directory, List<GuestImageProbe> problems, CancellationToken cancellationToken)
    {
        (PackageFile? file, string? problem, bool missing) = await TryFetchAsync(package, followPrefix, directory, [], cancellationToken).ConfigureAwait(false);
        if (file is not null)
            return file;
        problems.Add(new GuestImageProbe(options.AptGet, problem!));
        if (missing)
            return null;

        if (await RefreshAsync(problems, cancellationToken).ConfigureAwait(false) is not { } ours)
            return null;
        (file, problem, _) = await TryFetchAsync(package, followPrefix, directory, ours, cancellationToken).ConfigureAwait(false);
        if (file is null)
            problems.Add(new GuestImageProbe($"{options.AptGet} with fresh lists in {privateLists}", problem!));
        return file;
    }

    /// <summary>Fetches several packages at once, as they are named.</summary>
    /// <param name="packages">Their names. One that apt knows no file for (a virtual package) is left out.</param>
    /// <param name="directory">An empty directory for the files.</param>
    /// <param name="problems">Gets an entry for each thing that failed.</param>
    /// <param name="cancellationToken">Ends child processes and throws.</param>
    /// <returns>Files with their control paragraphs.</returns>
    public async Task<IReadOnlyList<(PackageFile File, string Control)>> FetchManyAsync(IReadOnlyList<string> packages, string directory, List<GuestImageProbe> problems, CancellationToken cancellationToken)
    {
        string[] wanted = [.. packages.Where(IsPackageName)];
        foreach (string bad in packages.Except(wanted))
            problems.Add(new GuestImageProbe(bad, $"\"{bad}\" is not a Debian package name"));
        if (wanted.Length == 0)
            return [];
        (List<(PackageFile, string)> files, string? problem, bool missing) = await TryFetchManyAsync(wanted, directory, [], cancellationToken).ConfigureAwait(false);
        if (problem is null || missing)
        {
            if (problem is not null)
                problems.Add(new GuestImageProbe(options.AptGet, problem));
            return files;
        }
        problems.Add(new GuestImageProbe(options.AptGet, problem));
        if (await RefreshAsync(problems, cancellationToken).ConfigureAwait(false) is not { } ours)
            return files;
        (files, problem, _) = await TryFetchManyAsync(wanted, directory, ours, cancellationToken).ConfigureAwait(false);
        if (problem is not null)
            problems.Add(new GuestImageProbe($"{options.AptGet} with fresh lists in {privateLists}", problem));
        return files;
    }

    /// <summary>The first dependency with that prefix in a "Depends" value, alternatives included.</summary>
    internal static string? DependencyOf(string show, string prefix)
    {
        foreach (string line in show.Split('\n'))
        {
            if (!line.StartsWith("Depends:", StringComparison.Ordinal))
                continue;
            foreach (string dependency in line["Depends:".Length..].Split(',', '|'))
            {
                string name = dependency.Trim().Split(' ', '(', ':', '[')[0];
                if (name.StartsWith(prefix, StringComparison.Ordinal) && IsPackageName(name))
                    return name;
            }
        }
        return null;
    }

    /// <summary>Debian Policy 5.6.1, so that a name is never taken for an option or a path.</summary>
    internal static bool IsPackageName(string name) => PackageName().IsMatch(name);

    [GeneratedRegex(@"\A[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?\z")]
    private static partial Regex PackageName();

    [GeneratedRegex(@"^'[^']*' (?<file>\S+) (?<size>[0-9]+)", RegexOptions.Multiline)]
    private static partial Regex PrintedUri();

    private async Task<(PackageFile? File, string? Problem, bool Missing)> TryFetchAsync(string package, string? followPrefix, string directory, string[] lists, CancellationToken cancellationToken)
    {
        if (!IsPackageName(package))
            return (null, $"\"{package}\" is not a Debian package name", true);
        string wanted = package;
        if (followPrefix is not null)
        {
            ToolResult show = await RunAsync(options.AptCache, [.. lists, "show", "--no-all-versions", package], null, cancellationToken).ConfigureAwait(false);
            if (!show.Succeeded)
                return (null, show.Problem, show.Missing);
            wanted = DependencyOf(show.Output, followPrefix) ?? package;
        }
        // Also tells, before anything is fetched, whether the package exists.
        ToolResult printed = await RunAsync(options.AptGet, [.. lists, "download", "--print-uris", wanted], directory, cancellationToken).ConfigureAwait(false);
        if (!printed.Succeeded)
            return (null, printed.Problem, printed.Missing);
        Match uri = PrintedUri().Match(printed.Output);
        long? total = uri.Success && long.TryParse(uri.Groups["size"].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out long size) ? size : null;

        Task<ToolResult> running = RunAsync(options.AptGet, [.. lists, "-q", "download", wanted], directory, cancellationToken);
        await ReportAsync(running, wanted, directory, total).ConfigureAwait(false);
        ToolResult downloaded = await running.ConfigureAwait(false);
        if (!downloaded.Succeeded)
            return (null, downloaded.Problem, downloaded.Missing);
        string? path = Directory.EnumerateFiles(directory, "*.deb").SingleOrDefault();
        if (path is null)
            return (null, $"{options.AptGet} download {wanted} reported success but left no package file", false);
        return (new PackageFile(wanted, Parts(path).Version, path), null, false);
    }

    private async Task<(List<(PackageFile File, string Control)> Files, string? Problem, bool Missing)> TryFetchManyAsync(string[] packages, string directory, string[] lists, CancellationToken cancellationToken)
    {
        var files = new List<(PackageFile, string)>();
        ToolResult show = await RunAsync(options.AptCache, [.. lists, "show", "--no-all-versions", .. packages], null, cancellationToken).ConfigureAwait(false);
        if (!show.Succeeded)
            return (files, show.Problem, show.Missing);
        // A virtual package has no paragraph, and apt-get download would fail for all because of it.
        var controls = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string paragraph in show.Output.Split("\n\n"))
        {
            if (UnpackedPackage.Field(paragraph, "Package") is { } name && packages.Contains(name))
                controls.TryAdd(name, paragraph + "\n");
        }
        if (controls.Count == 0)
            return (files, $"apt knows no package {string.Join(", ", packages)}", false);
        Task<ToolResult> running = RunAsync(options.AptGet, [.. lists, "-q", "download", .. controls.Keys], directory, cancellationToken);
        await ReportAsync(running, string.Join(' ', controls.Keys), directory, null).ConfigureAwait(false);
        ToolResult downloaded = await running.ConfigureAwait(false);
        foreach (string path in Directory.EnumerateFiles(directory, "*.deb").Order(StringComparer.Ordinal))
        {
            (string name, string version) = Parts(path);
            if (controls.TryGetValue(name, out string? control))
                files.Add((new PackageFile(name, version, path), control));
        }
        return (files, downloaded.Problem, downloaded.Missing);
    }

    private async Task<string[]?> RefreshAsync(List<GuestImageProbe> problems, CancellationToken cancellationToken)
    {
        string[] ours =
        [
            "-o", $"Dir::State::lists={Path.Combine(privateLists, "lists")}", "-o", $"Dir::Cache={Path.Combine(privateLists, "cache")}",
            // Root's apt would drop to a user who cannot enter the caller's cache.
            .. Environment.IsPrivilegedProcess ? (string[])["-o", "APT::Sandbox::User=root"] : [],
        ];
        Directory.CreateDirectory(Path.Combine(privateLists, "lists", "partial"));
        Directory.CreateDirectory(Path.Combine(privateLists, "cache", "archives", "partial"));
        progress?.Report(new GuestProgress(GuestProgressStage.Updating, "package lists"));
        ToolResult update = await RunAsync(options.AptGet, [.. ours, "update"], null, cancellationToken).ConfigureAwait(false);
        if (!update.Succeeded)
        {
            problems.Add(new GuestImageProbe($"{options.AptGet} update (into {privateLists})", update.Problem!));
            return null;
        }
        return ours;
    }

    // NAME_VERSION_ARCH.deb, with the version's colon escaped.
    private static (string Name, string Version) Parts(string path)
    {
        string[] parts = Path.GetFileNameWithoutExtension(path).Split('_');
        return (parts[0], parts.Length == 3 ? Uri.UnescapeDataString(parts[1]) : "unknown");
    }

    private async Task ReportAsync(Task running, string package, string directory, long? total)
    {
        while (progress is not null && !running.IsCompleted)
        {
            progress.Report(new GuestProgress(GuestProgressStage.Downloading, package, Fetched(directory), total));
            await Task.WhenAny(running, Task.Delay(ProgressInterval, CancellationToken.None)).ConfigureAwait(false);
        }
        progress?.Report(new GuestProgress(GuestProgressStage.Downloading, package, Fetched(directory), total));
    }

    private static long Fetched(string directory)
    {
        try
        {
            return new DirectoryInfo(directory).EnumerateFiles().Sum(f => f.Length);
        }
        catch (IOException)
        {
            // Files are renamed while they are fetched.
            return 0;
        }
    }

    private Task<ToolResult> RunAsync(string program, IEnumerable<string> arguments, string? directory, CancellationToken cancellationToken) =>
        Tool.RunAsync(program, [.. options.AptArguments, .. arguments], directory, options.Timeout, cancellationToken);
}
