// ld.so(8): how the dynamic linker finds the libraries that ELF files name.
using System.Collections.Immutable;
using Vmm.Guests.Elf;

namespace Vmm.Guests.Packages;

/// <summary>
/// Chooses a guest's files from packages: those asked for whole, and from what they depend on only the shared libraries that are needed, followed
/// from library to library. Dependencies are fetched only when a library is missing, so that a program does not bring its whole archive along.
/// </summary>
internal sealed class PackageClosure(Func<IReadOnlyList<string>, Task<IReadOnlyList<UnpackedPackage>>> fetch)
{
    private const int MaximumLinks = 16;
    private static readonly ImmutableArray<string> LibraryDirectories =
        ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"];
    private static readonly ImmutableArray<string> Omitted =
        ["usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/", "usr/share/lintian/", "usr/share/bug/", "usr/share/bash-completion/", "usr/share/doc-base/"];

    private readonly Dictionary<string, UnpackedPackage> _packages = new(StringComparer.Ordinal);
    private readonly HashSet<string> _tried = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PackagedFile> _known = new(StringComparer.Ordinal);
    private readonly ImmutableSortedDictionary<string, PackagedFile>.Builder _chosen = ImmutableSortedDictionary.CreateBuilder<string, PackagedFile>(StringComparer.Ordinal);
    private readonly Queue<string> _unread = new();
    private readonly List<(string Library, string User)> _missing = [];

    /// <summary>Library names no package could be found for, with the file that needs each.</summary>
    public IEnumerable<GuestImageProbe> Missing => _missing.Select(m => new GuestImageProbe(m.Library, $"/{m.User} of {_known[m.User].Package} needs it, and no package that {_known[m.User].Package} depends on has it"));

    public bool Has(string package) => _packages.ContainsKey(package);

    /// <summary>Takes packages with the libraries they need.</summary>
    public async Task<GuestPackages> TakeAsync(IReadOnlyList<string> names)
    {
        await FetchAsync(names).ConfigureAwait(false);
        foreach ((string path, PackagedFile file) in _known.ToArray())
        {
            if (names.Contains(file.Package) && !Omitted.Any(o => path.StartsWith(o, StringComparison.Ordinal)))
                Choose(path);
        }
        while (true)
        {
            while (_unread.TryDequeue(out string? path))
                ReadNeeds(path);
            string[] next = NextDependencies();
            if (next.Length == 0)
                break;
            await FetchAsync(next).ConfigureAwait(false);
            (string Library, string User)[] again = [.. _missing];
            _missing.Clear();
            foreach ((string library, string user) in again)
                Need(library, user, []);
        }
        IEnumerable<string> users = _chosen.Values.Select(f => f.Package).Distinct();
        return new GuestPackages([.. users.Select(p => $"{p}_{_packages[p].Version}").Order(StringComparer.Ordinal)], _chosen.ToImmutable());
    }

    private async Task FetchAsync(IReadOnlyList<string> names)
    {
        _tried.UnionWith(names);
        foreach (UnpackedPackage package in await fetch(names).ConfigureAwait(false))
        {
            _packages[package.Name] = package;
            Walk(package, new DirectoryInfo(package.Root));
        }
    }

    // Links to directories are not followed: what lies behind them is another package's, or the host's.
    private void Walk(UnpackedPackage package, DirectoryInfo directory)
    {
        foreach (FileSystemInfo entry in directory.EnumerateFileSystemInfos())
        {
            if (entry.LinkTarget is null && entry is DirectoryInfo inner)
                Walk(package, inner);
            else
                _known.TryAdd(Path.GetRelativePath(package.Root, entry.FullName), new PackagedFile(package.Name, entry.FullName, entry.LinkTarget));
        }
    }

    // Shared libraries are in packages named lib... (and zlib1g); only if those do not have one, the rest is fetched.
    private string[] NextDependencies()
    {
        string[] left = [.. _missing.SelectMany(m => _packages[_known[m.User].Package].Depends).Distinct().Where(d => !_tried.Contains(d))];
        string[] libraries = [.. left.Where(d => d.StartsWith("lib", StringComparison.Ordinal) || d.StartsWith("zlib", StringComparison.Ordinal))];
        return libraries.Length > 0 ? libraries : left;
    }

    private void Choose(string path)
    {
        for (int links = 0; links < MaximumLinks && _known.TryGetValue(path, out PackagedFile file) && _chosen.TryAdd(path, file); links++)
        {
            if (file.Link is null)
            {
                _unread.Enqueue(path);
                return;
            }
            path = Target(path, file.Link);
        }
    }

    private static string Target(string path, string link)
    {
        var parts = new Stack<string>(link.StartsWith('/') ? [] : path.Split('/')[..^1]);
        foreach (string part in link.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (part == "..")
                parts.TryPop(out _);
            else if (part != ".")
                parts.Push(part);
        }
        return string.Join('/', parts.Reverse());
    }

    private void ReadNeeds(string path)
    {
        string host = _known[path].HostPath;
        using (FileStream stream = File.OpenRead(host))
        {
            Span<byte> start = stackalloc byte[64];
            if (stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) < start.Length || !ElfReader.IsElf(start))
                return;
        }
        ElfNeeds needs = ElfReader.Needs(File.ReadAllBytes(host))!;
        string origin = "/" + path[..Math.Max(0, path.LastIndexOf('/'))];
        string[] search = [.. needs.SearchPaths.Select(p => Target("", p.Replace("$ORIGIN", origin, StringComparison.Ordinal).Replace("${ORIGIN}", origin, StringComparison.Ordinal)))];
        foreach (string library in needs.Libraries)
            Need(library, path, search);
        if (needs.Interpreter is { } interpreter)
            Need(interpreter.TrimStart('/'), path, [""]);
    }

    private void Need(string library, string user, IReadOnlyList<string> search)
    {
        // A name with a slash is a path, the interpreter's among them.
        if (library.Contains('/') && Find(library) is { } exact)
        {
            Choose(exact);
            // Newer releases ship /lib64 as a link to /usr/lib64, which an initramfs does not have.
            if (exact != library)
                _chosen.TryAdd(library, _known[exact] with { Link = "/" + exact });
            return;
        }
        if (search.Concat(LibraryDirectories).Select(d => d.Length == 0 ? library : $"{d}/{library}").FirstOrDefault(_known.ContainsKey) is { } path)
            Choose(path);
        else if (!_missing.Contains((library, user)))
            _missing.Add((library, user));
    }

    private string? Find(string path) => _known.ContainsKey(path) ? path : _known.ContainsKey("usr/" + path) ? "usr/" + path : null;
}
