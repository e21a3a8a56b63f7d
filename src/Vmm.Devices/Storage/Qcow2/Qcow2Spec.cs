// QEMU docs/interop/qcow2.txt ("Qcow2 Image File Format"): names and numbers.
namespace Vmm.Devices.Storage.Qcow2;

/// <summary>Numbers of the format, and the limits that keep a hostile image from taking memory; the limits are QEMU's.</summary>
internal static class Qcow2Spec
{
    public const uint Magic = 0x514649FB; // "QFI\xfb"
    public const int Version2HeaderLength = 72, Version3HeaderLength = 104, HeaderLengthWithCompression = 112;

    public const ulong IncompatibleDirty = 1 << 0, IncompatibleCorrupt = 1 << 1, IncompatibleExternalData = 1 << 2, IncompatibleCompression = 1 << 3, IncompatibleExtendedL2 = 1 << 4;
    public const ulong CompatibleLazyRefcounts = 1 << 0;
    public const ulong AutoclearBitmaps = 1 << 0;

    public const uint ExtensionEnd = 0, ExtensionBackingFormat = 0xE2792ACA, ExtensionFeatureNames = 0x6803F857, ExtensionBitmaps = 0x23852875, ExtensionExternalData = 0x44415441;

    public const ulong OffsetMask = 0x00FF_FFFF_FFFF_FE00;
    public const ulong Copied = 1UL << 63, Compressed = 1UL << 62, ZeroFlag = 1;

    public const int MaximumL1Bytes = 32 << 20, MaximumRefTableBytes = 8 << 20, MaximumSnapshots = 65536, MaximumSnapshotTableBytes = 16 << 20, MaximumBackingName = 1023;
    public const int SubclustersPerCluster = 32;

    /// <summary>The largest disk whose L1 table keeps to its limit.</summary>
    public static long MaximumLength(int clusterSize, bool extendedL2)
    {
        var perTable = (Int128)(clusterSize / (extendedL2 ? 16 : 8)) * clusterSize * (MaximumL1Bytes / 8);
        return (long)Int128.Min(perTable, 1L << 56);
    }
}
