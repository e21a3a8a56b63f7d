// Virtio 1.3, 2.7 "Split Virtqueues".
using Vmm.Core.Memory;

namespace Vmm.Devices.Virtio.Queues;

/// <summary>Descriptor table, available ring (the driver's) and used ring (the device's).</summary>
/// <param name="memory">Guest memory.</param>
internal sealed class SplitRing(GuestMemory memory) : Ring(memory)
{
    private const int IndexOffset = 2, RingOffset = 4, UsedSize = 8;
    private const ushort NoInterrupt = 1, NoNotify = 1;

    // Chains up to this index have been seen available: only then is the guest's index read again.
    private ushort _seen;
    private bool _hasSeen;

    public override ((ulong Length, ulong Alignment) Descriptors, (ulong Length, ulong Alignment) Driver, (ulong Length, ulong Alignment) Device) Layout(int size, bool eventIndex)
    {
        var more = eventIndex ? 2UL : 0;
        return (((ulong)size * DescriptorSize, 16), ((ulong)size * 2 + RingOffset + more, 2), ((ulong)size * UsedSize + RingOffset + more, 4));
    }

    public override bool IsSize(int size) => size is > 0 and <= VirtqueueLimits.QueueSize && (size & (size - 1)) == 0;

    public override void Start(ref QueueState queue) => (queue.NextAvailable, queue.NextUsed) = (0, 0);

    public override bool HasSoundPositions(in QueueState queue) => true;

    public override void Forget()
    {
        base.Forget();
        _hasSeen = false;
    }

    public override bool HasAvailable(ref QueueState queue)
    {
        if (_hasSeen && _seen != queue.NextAvailable) return true;
        if (!Memory.TryRead(queue.DriverArea + IndexOffset, out ushort index)) return Fail("the available ring is not in memory");

        // What the driver wrote before the index is read after it.
        Volatile.ReadBarrier();
        if ((ushort)(index - queue.NextAvailable) > queue.Size) return Fail("the available index is ahead by more than the queue's size");
        (_seen, _hasSeen) = (index, true);
        return index != queue.NextAvailable;
    }

    public override bool TryTake(ref QueueState queue, ChainSlot slot)
    {
        if (!HasAvailable(ref queue)) return false;
        var at = queue.DriverArea + RingOffset + 2UL * (ushort)(queue.NextAvailable & (queue.Size - 1));
        if (!Memory.TryRead(at, out ushort head)) return Fail("the available ring is not in memory");
        if (head >= queue.Size) return Fail("a head index is not in the descriptor table");
        queue.NextAvailable++;
        slot.Id = head;
        slot.RingSlots = 1;
        return Walk(ref queue, slot, head);
    }

    public override bool Use(ref QueueState queue, ChainSlot slot)
    {
        var at = queue.DeviceArea + RingOffset + UsedSize * (ulong)(ushort)(queue.NextUsed & (queue.Size - 1));
        if (!Memory.TryWrite(at, slot.Id | (ulong)slot.Written << 32)) return Fail("the used ring is not in RAM");
        Volatile.WriteBarrier();
        queue.NextUsed++;
        queue.Unsignalled++;
        return Memory.TryWrite(queue.DeviceArea + IndexOffset, queue.NextUsed) || Fail("the used ring is not in RAM");
    }

    public override void SetNotifications(ref QueueState queue, bool wanted)
    {
        if (queue.EventIndex)
        {
            if (!wanted) return;
            Memory.TryWrite(queue.DeviceArea + RingOffset + UsedSize * (ulong)queue.Size, queue.NextAvailable);
        }
        else
        {
            if (queue.Suppressed == !wanted) return;
            queue.Suppressed = !wanted;
            Memory.TryWrite(queue.DeviceArea, wanted ? (ushort)0 : NoNotify);
        }

        // The driver reads this after it has written its index; so the index is read after this was written.
        if (wanted) Interlocked.MemoryBarrier();
    }

    public override bool WantsInterrupt(ref QueueState queue)
    {
        var used = queue.Unsignalled;
        queue.Unsignalled = 0;
        if (used == 0) return false;
        Interlocked.MemoryBarrier();
        if (!queue.EventIndex) return Memory.TryRead(queue.DriverArea, out ushort flags) && (flags & NoInterrupt) == 0;
        if (used > queue.Size) return true;
        return Memory.TryRead(queue.DriverArea + RingOffset + 2UL * queue.Size, out ushort wanted) && Passes(wanted, queue.NextUsed, (ushort)(queue.NextUsed - used));
    }

    // Bounded by the size of the table: a chain that is longer runs in a circle.
    private bool Walk(ref QueueState queue, ChainSlot slot, ushort index)
    {
        for (var count = 1; ; count++)
        {
            if (count > queue.Size) return Fail("a chain is longer than the queue");
            var at = queue.DescriptorArea + (ulong)index * DescriptorSize;
            if (!Memory.TryRead(at, out ulong address) || !Memory.TryRead(at + 8, out ulong rest)) return Fail("the descriptor table is not in memory");
            var (length, flags, next) = ((uint)rest, (ushort)(rest >> 32), (ushort)(rest >> 48));
            if ((flags & Indirect) != 0)
            {
                if (!queue.Indirect) return Fail("indirect descriptors were not negotiated");
                if ((flags & Next) != 0) return Fail("an indirect descriptor has a next one");
                return WalkTable(slot, address, length);
            }

            if (slot.Add(Memory, address, length, (flags & Write) != 0) is { } fault) return Fail(fault);
            if ((flags & Next) == 0) return true;
            if (next >= queue.Size) return Fail("a next index is not in the descriptor table");
            index = next;
        }
    }

    private bool WalkTable(ChainSlot slot, ulong table, uint length)
    {
        if (length == 0 || length % DescriptorSize != 0) return Fail("an indirect table is no whole number of descriptors");
        if (length / DescriptorSize > VirtqueueLimits.QueueSize || table + (length - 1) < table) return Fail("an indirect table is too long");
        var entries = Math.Min(length / DescriptorSize, VirtqueueLimits.Segments);
        for (uint index = 0, count = 1; ; count++)
        {
            if (count > entries) return Fail("a chain of an indirect table is longer than the table, or has too many buffers");
            var at = table + (ulong)index * DescriptorSize;
            if (!Memory.TryRead(at, out ulong address) || !Memory.TryRead(at + 8, out ulong rest)) return Fail("an indirect table is not in memory");
            var (size, flags, next) = ((uint)rest, (ushort)(rest >> 32), (ushort)(rest >> 48));
            if ((flags & Indirect) != 0) return Fail("an indirect table is in an indirect table");
            if (slot.Add(Memory, address, size, (flags & Write) != 0) is { } fault) return Fail(fault);
            if ((flags & Next) == 0) return true;
            if (next >= length / DescriptorSize) return Fail("a next index is not in the indirect table");
            index = next;
        }
    }
}
