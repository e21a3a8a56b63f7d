// Virtio 1.3, 2.8 "Packed Virtqueues".
using Vmm.Core.Memory;

namespace Vmm.Devices.Virtio.Queues;

/// <summary>One ring that both sides write, with wrap counters, and an event suppression structure of each side.</summary>
/// <param name="memory">Guest memory.</param>
internal sealed class PackedRing(GuestMemory memory) : Ring(memory)
{
    private const ushort Available = 1 << 7, Used = 1 << 15;
    private const uint EventsEnabled = 0, EventsDisabled = 1, EventsByPosition = 2;
    private const int EventFlagsShift = 16, WrapShift = 15;

    public override ((ulong Length, ulong Alignment) Descriptors, (ulong Length, ulong Alignment) Driver, (ulong Length, ulong Alignment) Device) Layout(int size, bool eventIndex) =>
        (((ulong)size * DescriptorSize, 16), (4, 4), (4, 4));

    public override bool IsSize(int size) => size is > 0 and <= VirtqueueLimits.QueueSize;

    public override void Start(ref QueueState queue) =>
        (queue.NextAvailable, queue.NextUsed, queue.AvailableWrap, queue.UsedWrap) = (0, 0, true, true);

    public override bool HasSoundPositions(in QueueState queue) => queue.NextAvailable < queue.Size && queue.NextUsed < queue.Size;

    public override bool HasAvailable(ref QueueState queue) => TryReadAvailable(ref queue, queue.NextAvailable, queue.AvailableWrap, out _);

    public override bool TryTake(ref QueueState queue, ChainSlot slot)
    {
        var (position, wrap) = (queue.NextAvailable, queue.AvailableWrap);
        if (!TryReadAvailable(ref queue, position, wrap, out var word)) return false;
        for (var count = 1; ; count++)
        {
            // The first descriptor's flags are the last thing that the driver writes; so everything else is read after them.
            if (count == 1) Volatile.ReadBarrier();
            if (!Memory.TryRead(queue.DescriptorArea + (ulong)position * DescriptorSize, out ulong address)) return Fail("the descriptor ring is not in memory");
            var (length, id, flags) = ((uint)word, (ushort)(word >> 32), (ushort)(word >> 48));
            if (++position == queue.Size) (position, wrap) = (0, !wrap);
            slot.Id = id;
            slot.RingSlots = count;
            if ((flags & Indirect) != 0)
            {
                if (!queue.Indirect) return Fail("indirect descriptors were not negotiated");
                if (count != 1 || (flags & Next) != 0) return Fail("an indirect descriptor is part of a list");
                if (!ReadTable(slot, address, length)) return false;
            }
            else if (slot.Add(Memory, address, length, (flags & Write) != 0) is { } fault)
            {
                return Fail(fault);
            }

            if ((flags & Next) == 0) break;
            if (count == queue.Size) return Fail("a chain is longer than the queue");
            if (!TryReadAvailable(ref queue, position, wrap, out word)) return Fail(Fault ?? "a chain goes on in a descriptor that is not available");
        }

        (queue.NextAvailable, queue.AvailableWrap) = (position, wrap);
        return true;
    }

    public override bool Use(ref QueueState queue, ChainSlot slot)
    {
        var flags = (ushort)((queue.UsedWrap ? Available | Used : 0) | (slot.Written != 0 ? Write : 0));
        Volatile.WriteBarrier();

        // Length, id and flags are one aligned word: the driver sees all of it or nothing.
        if (!Memory.TryWrite(queue.DescriptorArea + (ulong)queue.NextUsed * DescriptorSize + 8, slot.Written | (ulong)slot.Id << 32 | (ulong)flags << 48)) return Fail("the descriptor ring is not in RAM");
        var next = queue.NextUsed + slot.RingSlots;
        if (next >= queue.Size)
        {
            next -= queue.Size;
            queue.UsedWrap = !queue.UsedWrap;
        }

        queue.NextUsed = (ushort)next;
        queue.Unsignalled += slot.RingSlots;
        return true;
    }

    public override void SetNotifications(ref QueueState queue, bool wanted)
    {
        if (queue.Suppressed == !wanted && !(wanted && queue.EventIndex)) return;
        queue.Suppressed = !wanted;
        var events = !wanted ? EventsDisabled << EventFlagsShift
            : queue.EventIndex ? EventsByPosition << EventFlagsShift | (queue.AvailableWrap ? 1U << WrapShift : 0) | queue.NextAvailable
            : EventsEnabled;
        Memory.TryWrite(queue.DeviceArea, events);

        // The driver reads this after it has made a descriptor available; so the descriptor is read after this was written.
        if (wanted) Interlocked.MemoryBarrier();
    }

    public override bool WantsInterrupt(ref QueueState queue)
    {
        var used = queue.Unsignalled;
        queue.Unsignalled = 0;
        if (used == 0) return false;
        Interlocked.MemoryBarrier();
        if (!Memory.TryRead(queue.DriverArea, out uint events)) return false;
        var flags = events >> EventFlagsShift & 3;
        if (flags == EventsDisabled) return false;
        if (flags != EventsByPosition || !queue.EventIndex || used > queue.Size) return true;

        // A position of the round before is one size back.
        var wanted = (int)(events & 0x7FFF);
        if ((events >> WrapShift & 1) != 0 != queue.UsedWrap) wanted -= queue.Size;
        return Passes((ushort)wanted, queue.NextUsed, (ushort)(queue.NextUsed - used));
    }

    private bool TryReadAvailable(ref QueueState queue, ushort position, bool wrap, out ulong word)
    {
        if (!Memory.TryRead(queue.DescriptorArea + (ulong)position * DescriptorSize + 8, out word)) return Fail("the descriptor ring is not in memory");
        var flags = (ushort)(word >> 48);
        return (flags & Available) != 0 == wrap && (flags & Used) != 0 != wrap;
    }

    // In a table of this layout all entries belong to the chain, and only the write flag means something.
    private bool ReadTable(ChainSlot slot, ulong table, uint length)
    {
        if (length == 0 || length % DescriptorSize != 0) return Fail("an indirect table is no whole number of descriptors");
        if (length / DescriptorSize > VirtqueueLimits.Segments || table + (length - 1) < table) return Fail("an indirect table is too long");
        for (var at = table; at - table < length; at += DescriptorSize)
        {
            if (!Memory.TryRead(at, out ulong address) || !Memory.TryRead(at + 8, out ulong rest)) return Fail("an indirect table is not in memory");
            if ((rest >> 48 & Indirect) != 0) return Fail("an indirect table is in an indirect table");
            if (slot.Add(Memory, address, (uint)rest, (rest >> 48 & Write) != 0) is { } fault) return Fail(fault);
        }

        return true;
    }
}
