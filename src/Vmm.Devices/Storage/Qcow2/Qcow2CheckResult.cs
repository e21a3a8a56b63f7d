using System.Collections.Immutable;

namespace Vmm.Devices.Storage.Qcow2;

/// <summary>What a check of a qcow2 image found.</summary>
/// <param name="Corruptions">Places where data may get lost; each is an error.</param>
/// <param name="Leaks">Clusters that are counted and not used: they take space, and harm nothing.</param>
/// <param name="Mended">How many reference counts were set right.</param>
/// <param name="AllocatedClusters">Clusters of the disk that have data.</param>
/// <param name="CompressedClusters">Those of them that are compressed.</param>
/// <param name="TotalClusters">Clusters of the disk.</param>
/// <param name="EndOffset">Where the last used cluster of the file ends, in bytes.</param>
/// <param name="Messages">The first hundred findings, one sentence each.</param>
public sealed record Qcow2CheckResult(long Corruptions, long Leaks, long Mended, long AllocatedClusters, long CompressedClusters, long TotalClusters, long EndOffset, ImmutableArray<string> Messages)
{
    /// <summary>Whether nothing was found, or all of it was mended.</summary>
    public bool IsClean => Corruptions + Leaks == Mended;
}
