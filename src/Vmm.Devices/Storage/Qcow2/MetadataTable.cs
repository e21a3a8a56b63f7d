using System.Buffers.Binary;

namespace Vmm.Devices.Storage.Qcow2;

/// <summary>An L2 table or refcount block in memory. Its members are used under the lock of the store.</summary>
internal sealed class MetadataTable(long offset, byte[] bytes)
{
    private int _low = int.MaxValue, _high;

    public long Offset => offset;

    public byte[] Bytes => bytes;

    public long LastUse { get; set; }

    /// <summary>Being written to the file: it may not be dropped and read again.</summary>
    public bool IsWriting { get; set; }

    public bool IsDirty => _low < _high;

    public ulong this[int at]
    {
        get => BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(at));
        set
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(at), value);
            MarkDirty(at, 8);
        }
    }

    public void MarkDirty(int at, int length) => (_low, _high) = (Math.Min(_low, at), Math.Max(_high, at + length));

    /// <summary>Copies what has to be written, in whole sectors, and calls the table clean.</summary>
    public PendingWrite TakeDirty()
    {
        int low = _low & ~511, high = Math.Min((_high + 511) & ~511, bytes.Length);
        (_low, _high) = (int.MaxValue, 0);
        IsWriting = true;
        return new PendingWrite(this, offset + low, bytes[low..high]);
    }

    /// <summary>A part of a table as it was, on its way to the file.</summary>
    internal readonly record struct PendingWrite(MetadataTable Table, long Offset, byte[] Bytes);
}
