// National Semiconductor PC16550D data sheet (DS008652), section 8.4 "FIFO Control Register".
using Vmm.Core.State;

namespace Vmm.Devices.Serial;

/// <summary>One of the 16-byte FIFOs of a 16550, each byte with the error bits that belong to it.</summary>
internal sealed class UartFifo : IStateful
{
    public const int Capacity = 16;

    private readonly ushort[] _entries = new ushort[Capacity];
    private int _first;
    private int _count;

    public int Count => _count;

    /// <summary>The error bits of the byte that is read next; zero where there is none.</summary>
    public byte FirstErrors => _count == 0 ? (byte)0 : (byte)(_entries[_first] >> 8);

    /// <summary>Whether any byte has error bits.</summary>
    public bool HasErrors
    {
        get
        {
            for (var i = 0; i < _count; i++)
            {
                if (_entries[(_first + i) % Capacity] > 0xFF) return true;
            }

            return false;
        }
    }

    public void Clear() => (_first, _count) = (0, 0);

    /// <summary>Appends a byte; the caller has looked at <see cref="Count"/>.</summary>
    public void Add(byte value, byte errors = 0)
    {
        if (_count == Capacity) return;
        _entries[(_first + _count++) % Capacity] = (ushort)(errors << 8 | value);
    }

    public byte Peek() => _count == 0 ? (byte)0 : (byte)_entries[_first];

    public byte Take()
    {
        if (_count == 0) return 0;
        var value = (byte)_entries[_first];
        _first = (_first + 1) % Capacity;
        _count--;
        return value;
    }

    /// <summary>Reading the line status clears the errors of the first byte.</summary>
    public void ClearFirstErrors()
    {
        if (_count > 0) _entries[_first] &= 0xFF;
    }

    public void VisitState(StateVisitor visitor)
    {
        visitor.Array(1, _entries.AsSpan());
        visitor.Field(2, ref _first);
        visitor.Field(3, ref _count);
    }

    public void OnStateLoaded()
    {
        _first &= Capacity - 1;
        _count = Math.Clamp(_count, 0, Capacity);
    }
}
