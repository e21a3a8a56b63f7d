// QEMU docs/interop/qcow2.txt, "Host cluster management": refcounts of 1 to 64 bits, those below 8 from the least significant bits of a byte on.
using System.Buffers.Binary;

namespace Vmm.Devices.Storage.Qcow2;

/// <summary>A reference count in a refcount block.</summary>
internal static class RefcountField
{
    public static ulong Maximum(int order) => order == 6 ? ulong.MaxValue : (1UL << (1 << order)) - 1;

    public static ulong Get(ReadOnlySpan<byte> block, int index, int order) => order switch
    {
        6 => BinaryPrimitives.ReadUInt64BigEndian(block[(index * 8)..]),
        5 => BinaryPrimitives.ReadUInt32BigEndian(block[(index * 4)..]),
        4 => BinaryPrimitives.ReadUInt16BigEndian(block[(index * 2)..]),
        3 => block[index],
        _ => (ulong)(block[(index << order) / 8] >> ((index << order) % 8)) & Maximum(order),
    };

    /// <summary>Sets a count and tells which bytes it is in.</summary>
    public static (int At, int Length) Set(Span<byte> block, int index, int order, ulong value)
    {
        switch (order)
        {
            case 6:
                BinaryPrimitives.WriteUInt64BigEndian(block[(index * 8)..], value);
                return (index * 8, 8);
            case 5:
                BinaryPrimitives.WriteUInt32BigEndian(block[(index * 4)..], (uint)value);
                return (index * 4, 4);
            case 4:
                BinaryPrimitives.WriteUInt16BigEndian(block[(index * 2)..], (ushort)value);
                return (index * 2, 2);
            case 3:
                block[index] = (byte)value;
                return (index, 1);
            default:
                int at = (index << order) / 8, shift = (index << order) % 8;
                block[at] = (byte)((block[at] & ~((int)Maximum(order) << shift)) | ((int)value << shift));
                return (at, 1);
        }
    }
}
