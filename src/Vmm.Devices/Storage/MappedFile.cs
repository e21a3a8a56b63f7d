using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using Vmm.Core.Memory;
using Vmm.Devices.Storage.Interop.Linux;

namespace Vmm.Devices.Storage;

/// <summary>
/// A file as memory: what is written there is the file's, shared with the host's page cache, and durable after <see cref="Flush"/>. The file is had alone
/// (between users of these classes, and of flock); a program that cuts it short all the same ends this process when the missing part is touched.
/// </summary>
public sealed class MappedFile : IDisposable
{
    private readonly FileStream _file;
    private readonly MemoryMappedFile _mapping;
    private readonly MemoryMappedViewAccessor _view;

    private MappedFile(FileStream file)
    {
        _file = file;
        _mapping = MemoryMappedFile.CreateFromFile(file, null, 0, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: true);
        try
        {
            _view = _mapping.CreateViewAccessor(0, 0, MemoryMappedFileAccess.ReadWrite);
        }
        catch
        {
            _mapping.Dispose();
            throw;
        }

        Length = (ulong)file.Length;
    }

    /// <summary>Its size in bytes.</summary>
    public ulong Length { get; }

    /// <summary>The host's address of the first byte; page-aligned, valid until the file is disposed.</summary>
    internal nint Address => _view.SafeMemoryMappedViewHandle.DangerousGetHandle();

    /// <summary>Maps a file, all of it.</summary>
    /// <param name="path">Its path.</param>
    /// <exception cref="IOException">It is not there, is open elsewhere, is empty or no whole number of pages, or the disk has no room for the holes in it.</exception>
    /// <exception cref="UnauthorizedAccessException">The user may not.</exception>
    public static MappedFile Open(string path)
    {
        var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
        try
        {
            if (file.Length == 0 || file.Length % MemoryRegion.PageSize != 0) throw new IOException($"'{path}' has {file.Length} bytes; a file to be memory has a positive multiple of {MemoryRegion.PageSize}: resize it.");
            Reserve(path, file);
            return new MappedFile(file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Waits until all that was written is durable.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public void Flush()
    {
        _view.Flush();
        RandomAccess.FlushToDisk(_file.SafeFileHandle);
    }

    /// <summary>Unmaps and closes it; what was written is left to the page cache.</summary>
    public void Dispose()
    {
        _view.Dispose();
        _mapping.Dispose();
        _file.Dispose();
    }

    // On a full disk, a store to a hole is a signal that would end this process: at the guest's will.
    private static void Reserve(string path, FileStream file)
    {
        if (!OperatingSystem.IsLinux()) return;
        var error = LibC.Allocate(file.SafeFileHandle, 0, 0, file.Length);
        if (error != 0) throw new IOException($"'{path}' cannot be given its {file.Length} bytes on the disk, which a file to be memory needs beforehand: {Marshal.GetPInvokeErrorMessage(error)}.");
    }
}
