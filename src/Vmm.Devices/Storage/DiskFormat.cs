namespace Vmm.Devices.Storage;

/// <summary>What a disk image's bytes mean. Always stated by who opens it: a guest that can write its disk can make it look like anything.</summary>
public enum DiskFormat
{
    /// <summary>The file's bytes are the disk's.</summary>
    Raw,

    /// <summary>qcow2, version 2 or 3.</summary>
    Qcow2,

    /// <summary>VHDX, read-only.</summary>
    Vhdx,

    /// <summary>VMDK, read-only.</summary>
    Vmdk,
}
