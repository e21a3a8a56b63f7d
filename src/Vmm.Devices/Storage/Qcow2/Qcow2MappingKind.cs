namespace Vmm.Devices.Storage.Qcow2;

/// <summary>What an L2 entry says of a cluster or a part of it.</summary>
internal enum Qcow2MappingKind
{
    /// <summary>Nothing: the backing store's bytes, or zeros.</summary>
    Unallocated,

    /// <summary>Zeros.</summary>
    Zero,

    /// <summary>Bytes in the file.</summary>
    Data,

    /// <summary>A compressed cluster.</summary>
    Compressed,
}
