namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Where a <see cref="PatchedRoutine"/> is.</summary>
public enum PatchPlace
{
    /// <summary>In the page of its callers, but if that is to be mapped anew.</summary>
    Near,

    /// <summary>In another page.</summary>
    Far,

    /// <summary>In another page, and all of them are global ones in the upper half.</summary>
    Kernel,
}
