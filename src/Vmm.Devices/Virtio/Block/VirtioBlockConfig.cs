// Virtio 1.3, 5.2.4 "Device configuration layout".
using System.Runtime.InteropServices;

namespace Vmm.Devices.Virtio.Block;

/// <summary>The block device's configuration structure, with the specification's names. Sectors have 512 bytes.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public struct VirtioBlockConfig
{
#pragma warning disable CS1591 // the specification says what they are
    public ulong Capacity;
    public uint SizeMax;
    public uint SegMax;
    public ushort Cylinders;
    public byte Heads;
    public byte Sectors;
    public uint BlkSize;
    public byte PhysicalBlockExp;
    public byte AlignmentOffset;
    public ushort MinIoSize;
    public uint OptIoSize;
    public byte Writeback;
    public byte Unused0;
    public ushort NumQueues;
    public uint MaxDiscardSectors;
    public uint MaxDiscardSeg;
    public uint DiscardSectorAlignment;
    public uint MaxWriteZeroesSectors;
    public uint MaxWriteZeroesSeg;
    public uint WriteZeroesMayUnmap;
#pragma warning restore CS1591
}
