using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vmm.Devices.Storage.Interop.Linux;

namespace Vmm.Devices.Storage;

/// <summary>
/// A raw image: the file's bytes are the disk's. Requests are positional reads and writes on threads of the pool, any number at a time.
/// On Linux, discarded ranges become holes of the file.
/// </summary>
public sealed class RawFileStore : BlockStore
{
    private const int DirectAlignment = 4096;

    private readonly SafeFileHandle _file;
    private readonly OperationPool<FileOperation> _operations = new(static pool => new FileOperation(pool));
    private readonly RangeLocks? _direct;
    private long _length;
    private volatile bool _hasNoHoles;

    private RawFileStore(string path, SafeFileHandle file, RawFileOptions options)
    {
        (Path, _file, IsReadOnly) = (path, file, options.ReadOnly);
        _direct = options.Direct ? new RangeLocks() : null;
        _length = RandomAccess.GetLength(file);
    }

    /// <summary>The file's path as it was given.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public override long Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public override bool IsReadOnly { get; }

    /// <summary>Opens a file.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="options">How; null to read and write by the page cache.</param>
    /// <exception cref="IOException">It is not there, is no regular file, or is open elsewhere.</exception>
    /// <exception cref="UnauthorizedAccessException">The user may not.</exception>
    public static RawFileStore Open(string path, RawFileOptions? options = null)
    {
        options ??= new RawFileOptions();

        if ((File.GetAttributes(path) & FileAttributes.Directory) != 0) throw NotAFile(path);
        return Make(path, FileMode.Open, options, null);
    }

    /// <summary>Creates a file, all zeros and without blocks of its own where the file system can do that.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="length">Its size in bytes.</param>
    /// <param name="overwrite">Whether a file that is there may be replaced.</param>
    /// <param name="options">How it stays open.</param>
    /// <exception cref="IOException">It is there, or cannot be made.</exception>
    public static RawFileStore Create(string path, long length, bool overwrite = false, RawFileOptions? options = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        return Make(path, overwrite ? FileMode.Create : FileMode.CreateNew, options ?? new RawFileOptions(), length);
    }

    /// <inheritdoc/>
    public override ValueTask FlushAsync() => IsReadOnly ? default : _operations.Rent().Flush(_file);

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        if (_file.IsClosed) return;
        try
        {
            await FlushAsync().ConfigureAwait(false);
        }
        finally
        {
            _file.Dispose();
        }
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> destination) =>
        _direct is null ? _operations.Rent().Read(_file, offset, destination) : ReadDirectAsync(offset, destination);

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, IReadOnlyList<Memory<byte>> destinations) =>
        _direct is null ? _operations.Rent().Read(_file, offset, destinations) : base.ReadCoreAsync(offset, destinations);

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> source) =>
        _direct is null ? _operations.Rent().Write(_file, offset, source) : WriteDirectAsync(offset, source);

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(long offset, IReadOnlyList<ReadOnlyMemory<byte>> sources) =>
        _direct is null ? _operations.Rent().Write(_file, offset, sources) : base.WriteCoreAsync(offset, sources);

    /// <inheritdoc/>
    protected override async ValueTask DiscardCoreAsync(long offset, long length)
    {
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        TryAllocate(LibC.FALLOC_FL_PUNCH_HOLE | LibC.FALLOC_FL_KEEP_SIZE, offset, length);
    }

    /// <inheritdoc/>
    protected override async ValueTask WriteZeroesCoreAsync(long offset, long length, bool mayUnmap)
    {
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        var mode = mayUnmap ? LibC.FALLOC_FL_PUNCH_HOLE : LibC.FALLOC_FL_ZERO_RANGE;
        if (TryAllocate(mode | LibC.FALLOC_FL_KEEP_SIZE, offset, length)) return;
        await base.WriteZeroesCoreAsync(offset, length, mayUnmap).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override ValueTask ResizeCoreAsync(long length)
    {
        if (_direct is not null && length % DirectAlignment != 0) throw new ArgumentException($"A file past the page cache has a multiple of {DirectAlignment} bytes, not {length}.", nameof(length));
        RandomAccess.SetLength(_file, length);
        Volatile.Write(ref _length, length);
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask<BlockExtent> ExtentCoreAsync(long offset, long length)
    {
        if (!OperatingSystem.IsLinux()) return new(new BlockExtent(length, false));
        var data = LibC.Seek(_file, offset, LibC.SEEK_DATA);
        if (data == -LibC.ENXIO) return new(new BlockExtent(length, true));
        if (data < 0) return new(new BlockExtent(length, false));
        if (data > offset) return new(new BlockExtent(Math.Min(length, data - offset), true));
        var hole = LibC.Seek(_file, offset, LibC.SEEK_HOLE);
        return new(new BlockExtent(hole > offset ? Math.Min(length, hole - offset) : length, false));
    }

    private static RawFileStore Make(string path, FileMode mode, RawFileOptions options, long? length)
    {
        var file = File.OpenHandle(path, mode, options.ReadOnly ? FileAccess.Read : FileAccess.ReadWrite, options.ReadOnly ? FileShare.Read : FileShare.None, Flags(options));
        try
        {
            if (length is { } size) RandomAccess.SetLength(file, size);
            if (options.Direct) GoDirect(path, file);
            return new RawFileStore(path, file, options);
        }
        catch (NotSupportedException)
        {
            file.Dispose();
            throw NotAFile(path);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static IOException NotAFile(string path) => new($"'{path}' is no regular file: give the file of a disk image.");

    // .NET knows FILE_FLAG_NO_BUFFERING by no name, but hands it on.
    private static FileOptions Flags(RawFileOptions options) => options.Direct && OperatingSystem.IsWindows() ? FileOptions.RandomAccess | (FileOptions)0x2000_0000 : FileOptions.RandomAccess;

    private static void GoDirect(string path, SafeFileHandle file)
    {
        if (RandomAccess.GetLength(file) % DirectAlignment != 0) throw new IOException($"'{path}' cannot be opened past the page cache: its size is no multiple of {DirectAlignment}; resize it, or open it without 'direct'.");
        if (OperatingSystem.IsWindows()) return;
        var error = OperatingSystem.IsLinux() ? LibC.SetDirect(file) : LibC.EOPNOTSUPP;
        if (error != 0) throw new IOException($"'{path}' cannot be opened past the page cache: {Marshal.GetPInvokeErrorMessage(error)}; open it without 'direct'.");
    }

    /// <summary>False where the file system cannot do it.</summary>
    private bool TryAllocate(int mode, long offset, long length)
    {
        if (_hasNoHoles || !OperatingSystem.IsLinux()) return false;
        var error = LibC.Allocate(_file, mode, offset, length);
        if (error == 0) return true;
        if (error is not (LibC.EOPNOTSUPP or LibC.EINVAL)) throw new IOException($"'{Path}': fallocate of {length} bytes at {offset}: {Marshal.GetPInvokeErrorMessage(error)}.");
        if ((mode & LibC.FALLOC_FL_PUNCH_HOLE) != 0) _hasNoHoles = true;
        return false;
    }

    private async ValueTask ReadDirectAsync(long offset, Memory<byte> destination)
    {
        var start = offset / DirectAlignment * DirectAlignment;
        var end = Aligned(offset + destination.Length);
        using var buffer = new AlignedBuffer((int)(end - start), DirectAlignment);
        using var hold = await _direct!.AcquireAsync(start, end, exclusive: false).ConfigureAwait(false);
        await _operations.Rent().Read(_file, start, buffer.Memory).ConfigureAwait(false);
        buffer.Memory.Slice((int)(offset - start), destination.Length).CopyTo(destination);
    }

    private async ValueTask WriteDirectAsync(long offset, ReadOnlyMemory<byte> source)
    {
        var start = offset / DirectAlignment * DirectAlignment;
        var end = Aligned(offset + source.Length);
        var isWhole = start == offset && end == offset + source.Length;
        using var buffer = new AlignedBuffer((int)(end - start), DirectAlignment);
        using var hold = await _direct!.AcquireAsync(start, end, exclusive: !isWhole).ConfigureAwait(false);
        if (!isWhole) await _operations.Rent().Read(_file, start, buffer.Memory).ConfigureAwait(false);
        source.CopyTo(buffer.Memory[(int)(offset - start)..]);
        await _operations.Rent().Write(_file, start, buffer.Memory).ConfigureAwait(false);
    }

    private static long Aligned(long offset) => (offset + DirectAlignment - 1) / DirectAlignment * DirectAlignment;
}
