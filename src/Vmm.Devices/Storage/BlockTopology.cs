namespace Vmm.Devices.Storage;

/// <summary>Sizes in bytes that a store works best with; each a power of two.</summary>
/// <param name="LogicalBlockSize">What the disk is addressed in, at least 512.</param>
/// <param name="PhysicalBlockSize">The smallest write that needs no read before it.</param>
/// <param name="OptimalIoSize">What sequential requests should have; 0 where nothing is gained.</param>
/// <param name="DiscardGranularity">The smallest range, aligned to itself, whose space <see cref="IBlockStore.DiscardAsync"/> gives back.</param>
public readonly record struct BlockTopology(int LogicalBlockSize, int PhysicalBlockSize, int OptimalIoSize, int DiscardGranularity)
{
    /// <summary>Sectors of 512 bytes in blocks of 4096.</summary>
    public static BlockTopology Default => new(512, 4096, 0, 4096);
}
