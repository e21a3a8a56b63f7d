namespace Vmm.Devices.Chipset;

/// <summary>The splitting of wide accesses for <see cref="IByteWide"/> devices.</summary>
internal static class ByteWide
{
    public static ulong Read<T>(T device, uint offset, int size) where T : IByteWide
    {
        ulong value = 0;
        for (var i = 0; i < size; i++) value |= (ulong)device.ReadByte(offset + (uint)i) << (i * 8);
        return value;
    }

    public static void Write<T>(T device, uint offset, int size, ulong value) where T : IByteWide
    {
        for (var i = 0; i < size; i++) device.WriteByte(offset + (uint)i, (byte)(value >> (i * 8)));
    }
}
