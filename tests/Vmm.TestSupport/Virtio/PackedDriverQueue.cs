using Vmm.Core.Memory;

namespace Vmm.TestSupport.Virtio;

/// <summary>A packed virtqueue from the driver's side (virtio 1.3, 2.8).</summary>
public sealed class PackedDriverQueue(GuestMemory memory, int index, int size, ulong descriptors, ulong driver, ulong device, bool eventIndex)
    : DriverQueue(memory, index, size, descriptors, driver, device)
{
    private readonly int[] _chainLength = new int[size];
    private readonly Queue<int> _ids = new(Enumerable.Range(0, size));
    private int _position;
    private bool _wrap = true;
    private int _usedPosition;
    private bool _usedWrap = true;
    private int _added;
    private int _free = size;

    public override int Add(params ReadOnlySpan<Buffer> buffers)
    {
        var id = _ids.Dequeue();
        _chainLength[id] = buffers.Length;
        ulong first = 0, firstAt = 0;
        for (var i = 0; i < buffers.Length; i++)
        {
            var flags = (ushort)((i == buffers.Length - 1 ? 0 : 1) | (buffers[i].Writable ? 2 : 0));
            var (at, word) = Put(buffers[i].Address, buffers[i].Length, (ushort)id, flags);
            if (i == 0) (firstAt, first) = (at, word);
            else Memory.TryWrite(at + 8, word);
        }

        // The first descriptor's flags come last: the device then sees the whole list.
        Memory.TryWrite(firstAt + 8, first);
        return id;
    }

    public override int AddIndirect(ulong table, params ReadOnlySpan<Buffer> buffers)
    {
        for (var i = 0; i < buffers.Length; i++) WriteDescriptor(table + (ulong)i * 16, buffers[i].Address, buffers[i].Length, 0, (ushort)(buffers[i].Writable ? 2 : 0));
        for (var i = 0; i < buffers.Length; i++) Memory.TryWrite(table + (ulong)i * 16 + 8, buffers[i].Length | (ulong)(buffers[i].Writable ? 2 : 0) << 48);
        var id = _ids.Dequeue();
        _chainLength[id] = 1;
        var (at, word) = Put(table, (uint)buffers.Length * 16, (ushort)id, 4);
        Memory.TryWrite(at + 8, word);
        return id;
    }

    public override bool WantsNotification()
    {
        Interlocked.MemoryBarrier();
        var added = _added;
        _added = 0;
        if (added == 0 || !Memory.TryRead(Device, out uint events)) return false;
        var flags = events >> 16 & 3;
        if (flags != 2 || !eventIndex) return flags == 0;
        var wanted = (int)(events & 0x7FFF);
        if ((events >> 15 & 1) != 0 != _wrap) wanted -= Size;
        return (ushort)(_position - wanted - 1) < (ushort)added;
    }

    public override bool TryTakeUsed(out int id, out uint written)
    {
        (id, written) = (0, 0);
        if (!Memory.TryRead(Descriptors + (ulong)_usedPosition * 16 + 8, out ulong word)) return false;
        var flags = (ushort)(word >> 48);
        if ((flags & 0x80) != 0 != _usedWrap || (flags & 0x8000) != 0 != _usedWrap) return false;
        (id, written) = ((ushort)(word >> 32), (uint)word);
        if (id >= Size) return true;
        _ids.Enqueue(id);
        _free += _chainLength[id];
        _usedPosition += _chainLength[id];
        if (_usedPosition < Size) return true;
        _usedPosition -= Size;
        _usedWrap = !_usedWrap;
        return true;
    }

    public override void SetInterrupts(bool wanted)
    {
        var events = !wanted ? 1u << 16 : eventIndex ? 2u << 16 | (_usedWrap ? 1u << 15 : 0) | (uint)_usedPosition : 0;
        Memory.TryWrite(Driver, events);
    }

    private (ulong At, ulong Word) Put(ulong address, uint length, ushort id, ushort flags)
    {
        if (--_free < 0) throw new InvalidOperationException("The ring is full.");
        var at = Descriptors + (ulong)_position * 16;
        Memory.TryWrite(at, address);
        var word = length | (ulong)id << 32 | (ulong)(ushort)(flags | (_wrap ? 0x80 : 0x8000)) << 48;
        _added++;
        if (++_position == Size) (_position, _wrap) = (0, !_wrap);
        return (at, word);
    }
}
