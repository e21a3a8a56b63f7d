// Linux Documentation/filesystems/ramfs-rootfs-initramfs.rst: what the kernel expects in an initramfs.
using System.Collections.Immutable;
using System.IO.Compression;
using System.Text;
using Vmm.Guests.Cpio;
using Vmm.Guests.Kernels;
using Vmm.Guests.Packages;

namespace Vmm.Guests;

/// <summary>
/// An initramfs being put together. Immutable: each method returns a new one, so a base can be shared by many guests.
/// Adding a name again replaces what it had. The output depends on the content only, not on the order of the calls.
/// </summary>
public sealed class Initramfs
{
    private const int MaximumArchiveBytes = 2_000_000_000;

    // Octal 644, 755, 700 and 1777.
    private const UnixFileMode ReadableFile = (UnixFileMode)0x1A4, Executable = (UnixFileMode)0x1ED, Private = (UnixFileMode)0x1C0, Sticky = (UnixFileMode)0x3FF;

    private readonly ImmutableSortedDictionary<string, Entry> _entries;
    private readonly ImmutableArray<ReadOnlyMemory<byte>> _appended;
    private readonly ImmutableArray<string> _moduleLines;

    private Initramfs(ImmutableSortedDictionary<string, Entry> entries, ImmutableArray<ReadOnlyMemory<byte>> appended, ImmutableArray<string> moduleLines)
    {
        _entries = entries;
        _appended = appended;
        _moduleLines = moduleLines;
    }

    private delegate void Entry(CpioWriter writer, string name);

    /// <summary>Number of entries named so far, implied directories not counted.</summary>
    public int Count => _entries.Count;

    /// <summary>An empty initramfs.</summary>
    /// <returns>The builder.</returns>
    public static Initramfs Create() => new(ImmutableSortedDictionary.Create<string, Entry>(StringComparer.Ordinal), [], []);

    /// <summary>Adds a file.</summary>
    /// <param name="path">Its name in the guest; a leading "/" may be left out.</param>
    /// <param name="content">Its bytes; not copied, so leave them alone until it is built.</param>
    /// <param name="mode">Permission bits; null is octal 644.</param>
    /// <returns>The new builder.</returns>
    /// <exception cref="ArgumentException">The name has "..", NUL or is too long.</exception>
    public Initramfs AddFile(string path, ReadOnlyMemory<byte> content, UnixFileMode? mode = null) =>
        With(path, (w, name) => w.AddFile(name, content.Span, mode));

    /// <summary>Adds a text file in UTF-8 without a byte-order mark.</summary>
    /// <param name="path">Its name in the guest.</param>
    /// <param name="text">Its content.</param>
    /// <param name="mode">Permission bits; null is octal 644.</param>
    /// <returns>The new builder.</returns>
    /// <exception cref="ArgumentException">The name has "..", NUL or is too long.</exception>
    public Initramfs AddFile(string path, string text, UnixFileMode? mode = null) => AddFile(path, Encoding.UTF8.GetBytes(text), mode);

    /// <summary>Adds a file of the host, read when the archive is built.</summary>
    /// <param name="path">Its name in the guest.</param>
    /// <param name="hostFile">The file on the host; it must exist now and then.</param>
    /// <param name="mode">Permission bits; null is the host file's own on Unix, and octal 644 on Windows.</param>
    /// <returns>The new builder.</returns>
    /// <exception cref="FileNotFoundException">There is no such host file.</exception>
    /// <exception cref="ArgumentException">The name has "..", NUL or is too long, or the file has 4 GiB or more.</exception>
    public Initramfs AddFileFrom(string path, string hostFile, UnixFileMode? mode = null)
    {
        var file = new FileInfo(hostFile);
        if (!file.Exists)
            throw new FileNotFoundException($"The file {hostFile} for {CpioPath.Show(path)} of the initramfs does not exist.", hostFile);
        if (file.Length > CpioWriter.MaximumFileSize)
            throw new ArgumentException($"{hostFile} has {file.Length} bytes; a file in an initramfs has at most {CpioWriter.MaximumFileSize}. Put it on a disk instead.", nameof(hostFile));
        return With(path, (w, name) =>
        {
            using FileStream stream = File.OpenRead(hostFile);
            UnixFileMode bits = mode ?? (OperatingSystem.IsWindows() ? ReadableFile : File.GetUnixFileMode(stream.SafeFileHandle));
            w.AddFile(name, stream, stream.Length, bits);
        });
    }

    /// <summary>Adds a directory; parents are created anyway, so this is for empty ones and for modes.</summary>
    /// <param name="path">Its name in the guest.</param>
    /// <param name="mode">Permission bits; null is octal 755.</param>
    /// <returns>The new builder.</returns>
    /// <exception cref="ArgumentException">The name has "..", NUL or is too long.</exception>
    public Initramfs AddDirectory(string path, UnixFileMode? mode = null) => With(path, (w, name) => w.AddDirectory(name.Length == 0 ? "/" : name, mode));

    /// <summary>Adds a symbolic link.</summary>
    /// <param name="path">The link's name in the guest.</param>
    /// <param name="target">What it points to.</param>
    /// <returns>The new builder.</returns>
    /// <exception cref="ArgumentException">A name is bad.</exception>
    public Initramfs AddSymlink(string path, string target)
    {
        ArgumentException.ThrowIfNullOrEmpty(target);
        return With(path, (w, name) => w.AddSymlink(name, target));
    }

    /// <summary>Adds a character device node.</summary>
    /// <param name="path">Its name in the guest.</param>
    /// <param name="major">Driver number, 0 to 4095.</param>
    /// <param name="minor">Device number, 0 to 1048575.</param>
    /// <param name="mode">Permission bits; null is octal 600.</param>
    /// <returns>The new builder.</returns>
    /// <exception cref="ArgumentException">The name is bad.</exception>
    public Initramfs AddCharacterDevice(string path, int major, int minor, UnixFileMode? mode = null) =>
        With(path, (w, name) => w.AddCharacterDevice(name, major, minor, mode));

    /// <summary>Adds a block device node.</summary>
    /// <param name="path">Its name in the guest.</param>
    /// <param name="major">Driver number, 0 to 4095.</param>
    /// <param name="minor">Device number, 0 to 1048575.</param>
    /// <param name="mode">Permission bits; null is octal 600.</param>
    /// <returns>The new builder.</returns>
    /// <exception cref="ArgumentException">The name is bad.</exception>
    public Initramfs AddBlockDevice(string path, int major, int minor, UnixFileMode? mode = null) =>
        With(path, (w, name) => w.AddBlockDevice(name, major, minor, mode));

    /// <summary>Adds a static busybox as /bin/busybox, with /bin/sh, and the usual directories and /dev/console.</summary>
    /// <param name="busyboxPath">The host file; see <see cref="GuestImages.FindBusyboxAsync"/>.</param>
    /// <returns>The new builder.</returns>
    /// <exception cref="FileNotFoundException">There is no such host file.</exception>
    public Initramfs AddBusybox(string busyboxPath) =>
        AddFileFrom("bin/busybox", busyboxPath, Executable)
            .AddSymlink("bin/sh", "busybox")
            .AddDirectory("dev").AddDirectory("proc").AddDirectory("sys").AddDirectory("run").AddDirectory("etc")
            .AddDirectory("sbin").AddDirectory("usr/bin").AddDirectory("usr/sbin")
            .AddDirectory("root", Private).AddDirectory("tmp", Sticky)
            // The kernel opens it for init before anything can mount devtmpfs.
            .AddCharacterDevice("dev/console", 5, 1);

    /// <summary>
    /// Adds kernel modules with those they depend on, unpacked, under lib/modules, and their order in <see cref="LinuxShell.ModuleListPath"/>,
    /// from which <see cref="LinuxShell"/>'s /init loads them before its ready marker. A second call adds to the first.
    /// </summary>
    /// <param name="modules">The modules of the kernel the guest boots.</param>
    /// <param name="names">Module names, each perhaps followed by parameters: "loop max_loop=4". One that is built in loads nothing.</param>
    /// <returns>The new builder.</returns>
    /// <exception cref="GuestImageException">The kernel has no such module, or it is damaged.</exception>
    public Initramfs AddModules(KernelModules modules, params IEnumerable<string> names)
    {
        ArgumentNullException.ThrowIfNull(modules);
        ArgumentNullException.ThrowIfNull(names);
        (ImmutableArray<string> lines, Initramfs result) = (_moduleLines, this);
        foreach (string asked in names)
        {
            string[] words = asked.Split(' ', 2, StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
            foreach (KernelModule module in modules.Resolve(words.Take(1)))
            {
                bool last = words.Length > 1 && module.Name == words[0].Replace('-', '_');
                string path = "/" + module.GuestPath;
                if (!lines.Any(l => l.Split(' ')[0] == path))
                    lines = lines.Add(last ? $"{path} {words[1]}" : path);
                result = result.AddFile(module.GuestPath, KernelModules.Read(module));
            }
        }
        result = result.AddFile(LinuxShell.ModuleListPath, string.Concat(lines.Select(l => l + "\n")));
        return new Initramfs(result._entries, result._appended, lines);
    }

    /// <summary>Adds the files of Debian packages; they never replace what is there already.</summary>
    /// <param name="packages">From <see cref="GuestImages.FindPackagesAsync"/>.</param>
    /// <returns>The new builder.</returns>
    public Initramfs AddPackages(GuestPackages packages)
    {
        ArgumentNullException.ThrowIfNull(packages);
        Initramfs result = this;
        foreach ((string path, PackagedFile file) in packages.Files)
        {
            if (!result._entries.ContainsKey(path))
                result = file.Link is { } link ? result.AddSymlink(path, link) : result.AddFileFrom(path, file.HostPath);
        }
        return result;
    }

    /// <summary>Sets /init, the first program the kernel starts.</summary>
    /// <param name="script">A script with a "#!" line, or one for /bin/sh, which is then written above it.</param>
    /// <returns>The new builder.</returns>
    public Initramfs WithInit(string script)
    {
        ArgumentException.ThrowIfNullOrEmpty(script);
        string text = script.StartsWith("#!", StringComparison.Ordinal) ? script : "#!/bin/sh\n" + script;
        // A carriage return after the interpreter's name would become part of it.
        return AddFile("init", text.ReplaceLineEndings("\n"), Executable);
    }

    /// <summary>Puts a whole cpio archive, plain or compressed, behind this one; Linux unpacks it over these files.</summary>
    /// <param name="archive">Its bytes; not copied.</param>
    /// <returns>The new builder.</returns>
    public Initramfs AppendArchive(ReadOnlyMemory<byte> archive) => new(_entries, _appended.Add(archive), _moduleLines);

    /// <summary>Builds the archive in memory.</summary>
    /// <param name="compression">Whether to compress it; a guest without host CPU speed boots quicker from a plain one.</param>
    /// <returns>The bytes for <c>--initrd</c>.</returns>
    /// <exception cref="ArgumentException">A file is also used as a directory.</exception>
    /// <exception cref="InvalidOperationException">The archive would pass 2 GB.</exception>
    /// <exception cref="IOException">A host file cannot be read.</exception>
    public byte[] Build(InitramfsCompression compression = InitramfsCompression.None)
    {
        using var memory = new BoundedMemoryStream(MaximumArchiveBytes);
        WriteTo(memory, compression);
        return memory.ToArray();
    }

    /// <summary>Writes the archive to a stream, which stays open.</summary>
    /// <param name="output">Where to.</param>
    /// <param name="compression">Whether to compress it.</param>
    /// <exception cref="ArgumentException">A file is also used as a directory.</exception>
    /// <exception cref="IOException">A host file cannot be read.</exception>
    public void WriteTo(Stream output, InitramfsCompression compression = InitramfsCompression.None)
    {
        ArgumentNullException.ThrowIfNull(output);
        if (compression == InitramfsCompression.Gzip)
        {
            using var gzip = new GZipStream(output, CompressionLevel.Optimal, leaveOpen: true);
            WritePlain(gzip);
        }
        else
        {
            WritePlain(output);
        }
    }

    private void WritePlain(Stream output)
    {
        using var writer = new CpioWriter(output);
        foreach ((string name, Entry entry) in _entries)
            entry(writer, name);
        foreach (ReadOnlyMemory<byte> archive in _appended)
            writer.AppendArchive(archive.Span);
    }

    private Initramfs With(string path, Entry entry) => new(_entries.SetItem(CpioPath.Normalise(path, nameof(path)), entry), _appended, _moduleLines);

    private sealed class BoundedMemoryStream(int limit) : MemoryStream
    {
        public override void Write(ReadOnlySpan<byte> buffer)
        {
            if (Length + buffer.Length > limit)
                throw new InvalidOperationException($"The initramfs passes {limit} bytes; write it to a stream, or put the files on a disk.");
            base.Write(buffer);
        }
    }
}
