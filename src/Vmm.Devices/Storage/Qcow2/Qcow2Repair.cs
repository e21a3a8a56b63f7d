namespace Vmm.Devices.Storage.Qcow2;

/// <summary>What a check mends.</summary>
public enum Qcow2Repair
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Clusters that are counted and not used are freed.</summary>
    Leaks,

    /// <summary>All reference counts are set to what the tables use, and the marks "dirty" and "corrupt" are taken off.</summary>
    All,
}
