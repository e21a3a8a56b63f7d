namespace Vmm.Backends.Software.Mmu;

/// <summary>The kind of a memory access.</summary>
internal enum Access
{
    Read = 0,
    Write = 1,
    Fetch = 2,
}
