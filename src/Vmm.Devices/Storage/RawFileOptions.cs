namespace Vmm.Devices.Storage;

/// <summary>How a file is opened as a disk.</summary>
public sealed record RawFileOptions
{
    /// <summary>Refuse changes. Several readers may have the file open; a writer has it alone (between users of these classes, and of flock).</summary>
    public bool ReadOnly { get; init; }

    /// <summary>
    /// Past the host's page cache (O_DIRECT, FILE_FLAG_NO_BUFFERING). The file's size must be a multiple of 4096. Requests that are not
    /// aligned to 4096 bytes read before they write.
    /// </summary>
    public bool Direct { get; init; }
}
