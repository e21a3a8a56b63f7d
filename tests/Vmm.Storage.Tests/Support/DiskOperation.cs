namespace Vmm.Storage.Tests.Support;

/// <summary>A change of a disk, by numbers that are cut to fit it.</summary>
public sealed record DiskOperation(DiskOperationKind Kind, uint At, uint Count, byte Value);
