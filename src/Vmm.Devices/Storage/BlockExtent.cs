namespace Vmm.Devices.Storage;

/// <summary>A stretch of a disk that is of one kind.</summary>
/// <param name="Length">Bytes, at least 1.</param>
/// <param name="IsZero">Known to read as zeros. False says nothing of the contents.</param>
public readonly record struct BlockExtent(long Length, bool IsZero);
