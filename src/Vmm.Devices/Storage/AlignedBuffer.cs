using System.Buffers;
using System.Runtime.InteropServices;

namespace Vmm.Devices.Storage;

/// <summary>Memory of the pool whose address is aligned, as direct input and output need; it stays where it is until it is disposed.</summary>
internal sealed class AlignedBuffer : IDisposable
{
    private byte[]? _bytes;
    private GCHandle _pin;

    public AlignedBuffer(int length, int alignment)
    {
        _bytes = ArrayPool<byte>.Shared.Rent(length + alignment);
        _pin = GCHandle.Alloc(_bytes, GCHandleType.Pinned);
        var skip = (int)(-_pin.AddrOfPinnedObject() & (alignment - 1));
        Memory = _bytes.AsMemory(skip, length);
    }

    public Memory<byte> Memory { get; }

    public void Dispose()
    {
        if (_bytes is null) return;
        _pin.Free();
        ArrayPool<byte>.Shared.Return(_bytes);
        _bytes = null;
    }
}
