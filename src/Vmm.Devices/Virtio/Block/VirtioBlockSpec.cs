// Virtio 1.3, 5.2 "Block Device".
namespace Vmm.Devices.Virtio.Block;

/// <summary>Numbers of the block device.</summary>
internal static class VirtioBlockSpec
{
    public const ulong SegMax = 1 << 2, ReadOnly = 1 << 5, BlkSize = 1 << 6, Flush = 1 << 9, Topology = 1 << 10, Mq = 1 << 12, Discard = 1 << 13, WriteZeroes = 1 << 14;

    public const uint In = 0, Out = 1, FlushRequest = 4, GetId = 8, DiscardRequest = 11, WriteZeroesRequest = 13;
    public const byte Ok = 0, IoError = 1, Unsupported = 2;

    public const int SectorSize = 512, HeaderLength = 16, SegmentLength = 16, IdLength = 20;
    public const uint UnmapFlag = 1;
}
