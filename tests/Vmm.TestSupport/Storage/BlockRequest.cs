namespace Vmm.TestSupport.Storage;

/// <summary>A request as it reached a store.</summary>
public readonly record struct BlockRequest(BlockRequestKind Kind, long Offset, long Length);
