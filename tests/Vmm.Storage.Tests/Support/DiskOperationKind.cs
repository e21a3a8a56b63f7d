namespace Vmm.Storage.Tests.Support;

public enum DiskOperationKind
{
    Write,
    WritePieces,
    WriteZeroes,
    Discard,
    Read,
    Flush,
    Reopen,
    Resize,
}
