// PCI Local Bus Specification 3.0, 6.8.2 "MSI-X Capability & Table Structures".
using System.Buffers.Binary;
using Vmm.Core.Buses;
using Vmm.Core.State;

namespace Vmm.Devices.Pci;

/// <summary>
/// The messages of a function: a table of address, data and mask for each vector, and the bits of those that wait behind a mask. The
/// specification defines accesses of 4 and 8 bytes; others do what their bytes say, within the table.
/// </summary>
public sealed class MsiX : IStateful
{
    /// <summary>The most vectors that a function may have.</summary>
    public const int MaximumVectors = 2048;

    /// <summary>Bytes of a table entry.</summary>
    public const int EntrySize = 16;

    internal const byte EnableHigh = 0x80, FunctionMaskHigh = 0x40;

    private const int ControlHigh = 3, AddressAt = 0, DataAt = 8, VectorControlAt = 12;
    private const byte Masked = 1;

    private readonly PciFunction _function;
    private readonly byte[] _table;
    private readonly ulong[] _pending;

    internal MsiX(PciFunction function, int offset, int vectors)
    {
        (_function, Offset, Vectors) = (function, offset, vectors);
        _table = new byte[vectors * EntrySize];
        _pending = new ulong[(vectors + 63) / 64];
        Table = new TableWindow(this);
        PendingBits = new PendingWindow(this);
        Reset();
    }

    /// <summary>The number of vectors.</summary>
    public int Vectors { get; }

    /// <summary>Whether the guest has enabled it: the function's pin is then silent.</summary>
    public bool IsEnabled => (Control & EnableHigh) != 0;

    internal int Offset { get; }

    internal IIoHandler Table { get; }

    internal IIoHandler PendingBits { get; }

    private byte Control => _function.ConfigAt(Offset)[ControlHigh];

    /// <summary>Whether a vector waits for its mask to go.</summary>
    /// <param name="vector">The vector; one that does not exist never waits.</param>
    public bool IsPending(int vector) => (uint)vector < (uint)Vectors && (_pending[vector / 64] >> vector % 64 & 1) != 0;

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Array(1, _table.AsSpan());
        visitor.Array(2, _pending.AsSpan());
    }

    /// <inheritdoc/>
    public void OnStateLoaded()
    {
        for (var i = 0; i < Vectors; i++) Normalize(i);
        if (Vectors % 64 != 0) _pending[^1] &= (1UL << Vectors % 64) - 1;
    }

    internal void Reset()
    {
        Array.Clear(_table);
        Array.Clear(_pending);
        for (var i = 0; i < Vectors; i++) _table[i * EntrySize + VectorControlAt] = Masked;
    }

    /// <summary>Sends a vector's message, or remembers it while it is masked.</summary>
    internal void Signal(int vector)
    {
        if ((uint)vector >= (uint)Vectors) return;
        _pending[vector / 64] |= 1UL << vector % 64;
        SendPending(vector);
    }

    /// <summary>A mask may have gone: sends what waited for that.</summary>
    internal void SendPending()
    {
        for (var word = 0; word < _pending.Length; word++)
        {
            for (var left = _pending[word]; left != 0; left &= left - 1) SendPending(word * 64 + System.Numerics.BitOperations.TrailingZeroCount(left));
        }
    }

    private void SendPending(int vector)
    {
        if ((Control & (EnableHigh | FunctionMaskHigh)) != EnableHigh) return;
        var entry = _table.AsSpan(vector * EntrySize, EntrySize);
        if ((entry[VectorControlAt] & Masked) != 0 || !IsPending(vector)) return;
        _pending[vector / 64] &= ~(1UL << vector % 64);
        _function.Send(BinaryPrimitives.ReadUInt64LittleEndian(entry[AddressAt..]), BinaryPrimitives.ReadUInt32LittleEndian(entry[DataAt..]));
    }

    // Reserved bits stay zero: the low two of the address, all but one of the vector control.
    private void Normalize(int vector)
    {
        var entry = _table.AsSpan(vector * EntrySize, EntrySize);
        entry[AddressAt] &= 0xFC;
        entry[VectorControlAt] &= Masked;
        entry[(VectorControlAt + 1)..].Clear();
    }

    private sealed class TableWindow(MsiX owner) : IIoHandler
    {
        public ulong Read(uint offset, int size)
        {
            ulong value = 0;
            for (var i = 0; i < size; i++) value |= (ulong)owner._table[offset + i] << (8 * i);
            return value;
        }

        public void Write(uint offset, int size, ulong value)
        {
            for (var i = 0; i < size; i++) owner._table[offset + i] = (byte)(value >> (8 * i));
            for (var vector = (int)offset / EntrySize; vector <= (int)(offset + size - 1) / EntrySize; vector++)
            {
                owner.Normalize(vector);
                owner.SendPending(vector);
            }
        }
    }

    private sealed class PendingWindow(MsiX owner) : IIoHandler
    {
        public ulong Read(uint offset, int size)
        {
            ulong value = 0;
            for (var i = 0; i < size; i++)
            {
                var at = (int)offset + i;
                value |= (owner._pending[at / 8] >> at % 8 * 8 & 0xFF) << (8 * i);
            }

            return value;
        }

        // "Software should never write Pending Bits": nothing happens.
        public void Write(uint offset, int size, ulong value) { }
    }
}
