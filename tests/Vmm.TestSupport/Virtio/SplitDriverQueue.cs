using Vmm.Core.Memory;

namespace Vmm.TestSupport.Virtio;

/// <summary>A split virtqueue from the driver's side (virtio 1.3, 2.7).</summary>
public sealed class SplitDriverQueue(GuestMemory memory, int index, int size, ulong descriptors, ulong driver, ulong device, bool eventIndex)
    : DriverQueue(memory, index, size, descriptors, driver, device)
{
    private readonly int[] _chainLength = new int[size];
    private int _next;
    private int _free = size;
    private ushort _available;
    private ushort _notified;
    private ushort _used;

    public ushort Available => _available;

    public override int Add(params ReadOnlySpan<Buffer> buffers)
    {
        var head = Take(buffers.Length);
        for (var i = 0; i < buffers.Length; i++)
        {
            var last = i == buffers.Length - 1;
            var flags = (ushort)((last ? 0 : 1) | (buffers[i].Writable ? 2 : 0));
            WriteDescriptor(Descriptors + (ulong)((head + i) % Size) * 16, buffers[i].Address, buffers[i].Length, flags, (ushort)(last ? 0 : (head + i + 1) % Size));
        }

        return Offer(head);
    }

    public override int AddIndirect(ulong table, params ReadOnlySpan<Buffer> buffers)
    {
        for (var i = 0; i < buffers.Length; i++)
        {
            var last = i == buffers.Length - 1;
            WriteDescriptor(table + (ulong)i * 16, buffers[i].Address, buffers[i].Length, (ushort)((last ? 0 : 1) | (buffers[i].Writable ? 2 : 0)), (ushort)(last ? 0 : i + 1));
        }

        var head = Take(1);
        WriteDescriptor(Descriptors + (ulong)head * 16, table, (uint)buffers.Length * 16, 4, 0);
        return Offer(head);
    }

    /// <summary>Puts a head into the available ring, whatever it is.</summary>
    public int Offer(int head)
    {
        Memory.TryWrite(Driver + 4 + 2UL * (ulong)(_available % Size), (ushort)head);
        _available++;
        Memory.TryWrite(Driver + 2, _available);
        return head;
    }

    public override bool WantsNotification()
    {
        Interlocked.MemoryBarrier();
        var before = _notified;
        _notified = _available;
        if (before == _available) return false;
        if (!eventIndex) return Memory.TryRead(Device, out ushort flags) && (flags & 1) == 0;
        return Memory.TryRead(Device + 4 + 8UL * (ulong)Size, out ushort wanted) && (ushort)(_available - wanted - 1) < (ushort)(_available - before);
    }

    public override bool TryTakeUsed(out int id, out uint written)
    {
        (id, written) = (0, 0);
        if (!Memory.TryRead(Device + 2, out ushort index) || index == _used) return false;
        if (!Memory.TryRead(Device + 4 + 8UL * (ulong)(_used % Size), out ulong element)) return false;
        (id, written) = ((int)(uint)element, (uint)(element >> 32));
        _used++;
        if ((uint)id < (uint)Size) _free += _chainLength[id];
        return true;
    }

    public override void SetInterrupts(bool wanted)
    {
        if (eventIndex) Memory.TryWrite(Driver + 4 + 2UL * (ulong)Size, wanted ? _used : (ushort)(_used - 1));
        else Memory.TryWrite(Driver, wanted ? (ushort)0 : (ushort)1);
    }

    private int Take(int count)
    {
        if (count > _free) throw new InvalidOperationException("The ring is full.");
        var head = _next;
        _free -= count;
        _chainLength[head] = count;
        _next = (_next + count) % Size;
        return head;
    }
}
