namespace Vmm.Core.Memory;

/// <summary>Why a write to a 4 KiB page must leave the fast path. Zero means: write at once.</summary>
[Flags]
public enum PageFlags : byte
{
    /// <summary>Nothing watches the page.</summary>
    None = 0,

    /// <summary>An engine has decoded or translated code from the page.</summary>
    Code = 1,

    /// <summary>Dirty logging is on and the page was not written since it was last collected.</summary>
    Clean = 2,
}
