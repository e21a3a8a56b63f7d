// IBM PS/2 Hardware Interface Technical Reference, "Keyboard": the 16-byte output buffer.
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>A bounded first-in-first-out buffer of bytes on their way from a PS/2 device to the controller.</summary>
internal sealed class Ps2Queue : IStateful
{
    /// <summary>A keyboard buffers 16 bytes of keys; replies to commands need a little more.</summary>
    public const int Capacity = 32;

    private readonly byte[] _bytes = new byte[Capacity];
    private int _first;
    private int _count;

    public int Count => _count;

    public void Clear() => (_first, _count) = (0, 0);

    /// <summary>Appends bytes: all of them, or none where they do not fit.</summary>
    public bool TryAdd(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > Capacity - _count) return false;
        foreach (var value in bytes) _bytes[(_first + _count++) % Capacity] = value;
        return true;
    }

    public bool TryTake(out byte value)
    {
        value = _bytes[_first];
        if (_count == 0) return false;
        _first = (_first + 1) % Capacity;
        _count--;
        return true;
    }

    public void VisitState(StateVisitor visitor)
    {
        visitor.Array(1, _bytes.AsSpan());
        visitor.Field(2, ref _first);
        visitor.Field(3, ref _count);
    }

    public void OnStateLoaded()
    {
        _first &= Capacity - 1;
        _count = Math.Clamp(_count, 0, Capacity);
    }
}
