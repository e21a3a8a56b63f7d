namespace Vmm.Guests;

/// <summary>What the search for a guest image is doing.</summary>
public enum GuestProgressStage
{
    /// <summary>Looking at a place on this host.</summary>
    Probing,

    /// <summary>Waiting for another process that is filling the same cache.</summary>
    Waiting,

    /// <summary>Fetching the package lists.</summary>
    Updating,

    /// <summary>Fetching a package.</summary>
    Downloading,

    /// <summary>Unpacking a package.</summary>
    Unpacking,

    /// <summary>The image is there.</summary>
    Ready,
}
