using Vmm.Core.Memory;

namespace Vmm.TestSupport.Virtio;

/// <summary>The driver's side of a virtqueue. Descriptors are handed out in turn; a test that has more in flight than the ring holds has erred.</summary>
public abstract class DriverQueue(GuestMemory memory, int index, int size, ulong descriptors, ulong driver, ulong device)
{
    /// <summary>Bytes of guest memory that a queue of <see cref="MaximumSize"/> needs, and where its areas are in them.</summary>
    public const ulong AreaStride = 0x4000, DriverOffset = 0x2000, DeviceOffset = 0x3000;

    /// <summary>The most descriptors of a queue of this driver.</summary>
    public const int MaximumSize = 256;

    public GuestMemory Memory { get; } = memory;

    public int Index { get; } = index;

    public int Size { get; } = size;

    public ulong Descriptors { get; } = descriptors;

    public ulong Driver { get; } = driver;

    public ulong Device { get; } = device;

    /// <summary>Makes a chain available, without notifying.</summary>
    /// <returns>What <see cref="TryTakeUsed"/> will call it by.</returns>
    public abstract int Add(params ReadOnlySpan<Buffer> buffers);

    /// <summary>Makes a chain available whose descriptors are in a table of their own.</summary>
    public abstract int AddIndirect(ulong table, params ReadOnlySpan<Buffer> buffers);

    /// <summary>Whether the device wants to be notified of what was added since the last call.</summary>
    public abstract bool WantsNotification();

    /// <summary>Takes the next used buffer.</summary>
    public abstract bool TryTakeUsed(out int id, out uint written);

    /// <summary>Asks for an interrupt at the next used buffer (event index), or for none.</summary>
    public abstract void SetInterrupts(bool wanted);

    public void WriteDescriptor(ulong at, ulong address, uint length, ushort flags, ushort next)
    {
        Memory.TryWrite(at, address);
        Memory.TryWrite(at + 8, length | (ulong)flags << 32 | (ulong)next << 48);
    }
}
