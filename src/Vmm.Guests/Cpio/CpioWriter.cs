// The "new ASCII" cpio format, magic 070701: Linux Documentation/driver-api/early-userspace/buffer-format.rst; cpio(5).
using System.Text;

namespace Vmm.Guests.Cpio;

/// <summary>
/// Writes cpio <c>newc</c> archives, the format of Linux's initramfs, to a stream. Missing parent directories are created
/// (mode 755). The same calls always give the same bytes: inodes count up, owner is root, times are 1970 unless given.
/// Not thread-safe. The stream stays open.
/// </summary>
public sealed class CpioWriter : IDisposable
{
    /// <summary>Most bytes one file can have: the format's size field has 32 bits.</summary>
    public const long MaximumFileSize = uint.MaxValue;

    private const int HeaderSize = 110;
    private const uint TypeFifo = 0x1000, TypeCharacter = 0x2000, TypeDirectory = 0x4000, TypeBlock = 0x6000, TypeFile = 0x8000, TypeSymlink = 0xA000;
    private const int MaximumMajor = (1 << 12) - 1, MaximumMinor = (1 << 20) - 1;

#pragma warning disable CA2213 // The caller's stream: an archive is often one part of a longer one.
    private readonly Stream _output;
#pragma warning restore CA2213
    private readonly DateTimeOffset _modified;
    private readonly Dictionary<string, EntryState> _entries = new(StringComparer.Ordinal) { [""] = EntryState.ImpliedDirectory };
    private uint _inode;
    private bool _finished, _segmentHasEntries, _appended;

    /// <summary>Starts an archive.</summary>
    /// <param name="output">Where to write; positions are counted from here, so start it at a multiple of 4.</param>
    /// <param name="modified">The time of entries that name none; null is 1970-01-01, which keeps the output deterministic.</param>
    /// <exception cref="ArgumentOutOfRangeException">The time has no 32-bit Unix form.</exception>
    public CpioWriter(Stream output, DateTimeOffset? modified = null)
    {
        ArgumentNullException.ThrowIfNull(output);
        _output = output;
        _modified = modified ?? DateTimeOffset.UnixEpoch;
        UnixTime(_modified);
    }

    private enum EntryState : byte { ImpliedDirectory, Directory, Other }

    /// <summary>Bytes written so far.</summary>
    public long Length { get; private set; }

    /// <summary>Adds a directory. Naming a directory twice sets its mode anew.</summary>
    /// <param name="path">Its name; a leading "/" and "./" and doubled "/" are dropped.</param>
    /// <param name="mode">Permission bits; null is octal 755.</param>
    /// <param name="modified">Its time; null is the archive's.</param>
    /// <exception cref="ArgumentException">The name is bad, or a file has it.</exception>
    public void AddDirectory(string path, UnixFileMode? mode = null, DateTimeOffset? modified = null)
    {
        string name = CpioPath.Normalise(path, nameof(path));
        uint bits = Permissions(mode ?? (UnixFileMode)0x1ED);
        uint time = UnixTime(modified ?? _modified);
        EnsureOpen();
        if (_entries.TryGetValue(name, out EntryState state) && state == EntryState.Other)
            throw new ArgumentException($"{CpioPath.Show(path)} was already added and is not a directory.", nameof(path));
        AddParents(name, nameof(path));
        _entries[name] = EntryState.Directory;
        WriteEntry(name.Length == 0 ? "." : name, TypeDirectory | bits, 2, time, 0, default);
    }

    /// <summary>Adds a file.</summary>
    /// <param name="path">Its name.</param>
    /// <param name="content">Its bytes.</param>
    /// <param name="mode">Permission bits; null is octal 644.</param>
    /// <param name="modified">Its time; null is the archive's.</param>
    /// <exception cref="ArgumentException">The name is bad or taken.</exception>
    public void AddFile(string path, ReadOnlySpan<byte> content, UnixFileMode? mode = null, DateTimeOffset? modified = null)
    {
        StartFile(path, content.Length, mode, modified);
        WriteBytes(content);
        Pad();
    }

    /// <summary>Adds a file read from a stream.</summary>
    /// <param name="path">Its name.</param>
    /// <param name="content">Read for exactly <paramref name="length"/> bytes.</param>
    /// <param name="length">The file's size in bytes, 0 to <see cref="MaximumFileSize"/>.</param>
    /// <param name="mode">Permission bits; null is octal 644.</param>
    /// <param name="modified">Its time; null is the archive's.</param>
    /// <exception cref="ArgumentException">The name is bad or taken, or the length out of range.</exception>
    /// <exception cref="EndOfStreamException">The stream ended early; the archive is then unusable.</exception>
    public void AddFile(string path, Stream content, long length, UnixFileMode? mode = null, DateTimeOffset? modified = null)
    {
        ArgumentNullException.ThrowIfNull(content);
        StartFile(path, length, mode, modified);
        byte[] buffer = new byte[(int)Math.Min(length, 1 << 16)];
        for (long left = length; left > 0;)
        {
            int got = content.Read(buffer.AsSpan(0, (int)Math.Min(left, buffer.Length)));
            if (got == 0)
            {
                _finished = true;
                throw new EndOfStreamException($"The content of {CpioPath.Show(path)} ended {left} bytes before the {length} announced.");
            }
            WriteBytes(buffer.AsSpan(0, got));
            left -= got;
        }
        Pad();
    }

    /// <summary>Adds a symbolic link.</summary>
    /// <param name="path">The link's name.</param>
    /// <param name="target">What it points to, kept as written; at most 4095 bytes of UTF-8.</param>
    /// <param name="modified">Its time; null is the archive's.</param>
    /// <exception cref="ArgumentException">A name is bad or taken.</exception>
    public void AddSymlink(string path, string target, DateTimeOffset? modified = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(target);
        if (target.Contains('\0'))
            throw new ArgumentException($"The link target {CpioPath.Show(target)} has a NUL character.", nameof(target));
        byte[] bytes = CpioPath.Encode(target, CpioPath.MaximumBytes - 1, "link target", nameof(target));
        Start(path, TypeSymlink | 0x1FF, modified, bytes.Length, default);
        WriteBytes(bytes);
        Pad();
    }

    /// <summary>Adds a character device node.</summary>
    /// <param name="path">Its name.</param>
    /// <param name="major">Driver number, 0 to 4095.</param>
    /// <param name="minor">Device number, 0 to 1048575.</param>
    /// <param name="mode">Permission bits; null is octal 600.</param>
    /// <exception cref="ArgumentException">The name is bad or taken, or a number out of range.</exception>
    public void AddCharacterDevice(string path, int major, int minor, UnixFileMode? mode = null) =>
        Start(path, TypeCharacter | Permissions(mode ?? (UnixFileMode)0x180), null, 0, Device(major, minor));

    /// <summary>Adds a block device node.</summary>
    /// <param name="path">Its name.</param>
    /// <param name="major">Driver number, 0 to 4095.</param>
    /// <param name="minor">Device number, 0 to 1048575.</param>
    /// <param name="mode">Permission bits; null is octal 600.</param>
    /// <exception cref="ArgumentException">The name is bad or taken, or a number out of range.</exception>
    public void AddBlockDevice(string path, int major, int minor, UnixFileMode? mode = null) =>
        Start(path, TypeBlock | Permissions(mode ?? (UnixFileMode)0x180), null, 0, Device(major, minor));

    /// <summary>Adds a named pipe.</summary>
    /// <param name="path">Its name.</param>
    /// <param name="mode">Permission bits; null is octal 644.</param>
    /// <exception cref="ArgumentException">The name is bad or taken.</exception>
    public void AddNamedPipe(string path, UnixFileMode? mode = null) => Start(path, TypeFifo | Permissions(mode ?? (UnixFileMode)0x1A4), null, 0, default);

    /// <summary>
    /// Ends the archive being written and puts a whole other one behind it, plain or compressed; Linux unpacks both in order.
    /// Entries added afterwards begin a third.
    /// </summary>
    /// <param name="archive">The other archive's bytes, copied unread.</param>
    public void AppendArchive(ReadOnlySpan<byte> archive)
    {
        EnsureOpen();
        EndSegment();
        WriteBytes(archive);
        Pad();
        _appended = true;
        _entries.Clear();
        _entries[""] = EntryState.ImpliedDirectory;
    }

    /// <summary>Writes the end mark. Done by <see cref="Dispose"/> too; a second call does nothing.</summary>
    public void Finish()
    {
        if (_finished)
            return;
        _finished = true;
        // An archive of nothing is still one; an appended archive has its own end.
        if (_segmentHasEntries || !_appended)
            WriteTrailer();
    }

    /// <inheritdoc/>
    public void Dispose() => Finish();

    private static uint Permissions(UnixFileMode mode)
    {
        int bits = (int)mode;
        if ((bits & ~0xFFF) != 0)
            throw new ArgumentOutOfRangeException(nameof(mode), $"Mode octal {Convert.ToString(bits, 8)} has bits beyond 7777; the file type is not part of it.");
        return (uint)bits;
    }

    private static uint UnixTime(DateTimeOffset time)
    {
        long seconds = time.ToUnixTimeSeconds();
        return seconds is >= 0 and <= uint.MaxValue
            ? (uint)seconds
            : throw new ArgumentOutOfRangeException(nameof(time), $"{time:O} is outside 1970 to 2106, the years a cpio archive can hold.");
    }

    private static (uint Major, uint Minor) Device(int major, int minor)
    {
        if (major is < 0 or > MaximumMajor)
            throw new ArgumentOutOfRangeException(nameof(major), $"Major number {major} is outside 0 to {MaximumMajor}.");
        if (minor is < 0 or > MaximumMinor)
            throw new ArgumentOutOfRangeException(nameof(minor), $"Minor number {minor} is outside 0 to {MaximumMinor}.");
        return ((uint)major, (uint)minor);
    }

    private void StartFile(string path, long length, UnixFileMode? mode, DateTimeOffset? modified)
    {
        if (length is < 0 or > MaximumFileSize)
            throw new ArgumentOutOfRangeException(nameof(length), $"{CpioPath.Show(path)} has {length} bytes; a file in a cpio archive has at most {MaximumFileSize} (4 GiB - 1). Put it on a disk instead.");
        Start(path, TypeFile | Permissions(mode ?? (UnixFileMode)0x1A4), modified, (uint)length, default);
    }

    private void Start(string path, uint mode, DateTimeOffset? modified, long length, (uint Major, uint Minor) device)
    {
        string name = CpioPath.Normalise(path, nameof(path));
        if (name.Length == 0)
            throw new ArgumentException("The root of an initramfs is a directory and cannot be anything else.", nameof(path));
        uint time = UnixTime(modified ?? _modified);
        EnsureOpen();
        if (_entries.ContainsKey(name))
            throw new ArgumentException($"{CpioPath.Show(path)} was already added.", nameof(path));
        AddParents(name, nameof(path));
        _entries[name] = EntryState.Other;
        WriteEntry(name, mode, 1, time, (uint)length, device);
    }

    private void AddParents(string name, string parameter)
    {
        int checkedTo = 0;
        // Judged before anything is written, so that a refused call leaves the archive as it was.
        for (int slash = name.IndexOf('/'); slash >= 0; slash = name.IndexOf('/', slash + 1))
        {
            if (!_entries.TryGetValue(name[..slash], out EntryState state))
                break;
            if (state == EntryState.Other)
                throw new ArgumentException($"{CpioPath.Show(name)} cannot be added: {CpioPath.Show(name[..slash])} was added and is not a directory.", parameter);
            checkedTo = slash + 1;
        }
        for (int slash = name.IndexOf('/', checkedTo); slash >= 0; slash = name.IndexOf('/', slash + 1))
        {
            _entries[name[..slash]] = EntryState.ImpliedDirectory;
            WriteEntry(name[..slash], TypeDirectory | 0x1ED, 2, UnixTime(_modified), 0, default);
        }
    }

    private void EnsureOpen()
    {
        if (_finished)
            throw new InvalidOperationException("The cpio archive is finished; nothing can be added.");
    }

    private void EndSegment()
    {
        if (_segmentHasEntries)
            WriteTrailer();
        _segmentHasEntries = false;
    }

    private void WriteTrailer() => WriteHeader(CpioPath.Trailer, 0, 0, 1, 0, 0, default);

    private void WriteEntry(string name, uint mode, uint links, uint time, uint length, (uint Major, uint Minor) device)
    {
        _segmentHasEntries = true;
        WriteHeader(name, checked(++_inode), mode, links, time, length, device);
    }

    private void WriteHeader(string name, uint inode, uint mode, uint links, uint time, uint length, (uint Major, uint Minor) device)
    {
        byte[] nameBytes = Encoding.UTF8.GetBytes(name);
        Span<byte> header = stackalloc byte[HeaderSize];
        "070701"u8.CopyTo(header);
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        ReadOnlySpan<uint> fields = [inode, mode, 0, 0, links, time, length, 0, 0, device.Major, device.Minor, (uint)nameBytes.Length + 1, 0];
        for (int i = 0; i < fields.Length; i++)
            fields[i].TryFormat(header[(6 + 8 * i)..], out _, "X8");
        WriteBytes(header);
        WriteBytes(nameBytes);
        WriteBytes([0]);
        Pad();
    }

    private void Pad() => WriteBytes(stackalloc byte[(int)(-Length & 3)]);

    private void WriteBytes(ReadOnlySpan<byte> bytes)
    {
        _output.Write(bytes);
        Length += bytes.Length;
    }
}
