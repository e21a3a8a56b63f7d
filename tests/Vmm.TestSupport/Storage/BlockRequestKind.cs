namespace Vmm.TestSupport.Storage;

/// <summary>Kinds of requests to a store.</summary>
public enum BlockRequestKind
{
    Read,
    Write,
    Flush,
    Discard,
    WriteZeroes,
    Resize,
}
