// Virtio 1.3, 2.6 "Virtqueues".
using Vmm.Core.Memory;

namespace Vmm.Devices.Virtio.Queues;

/// <summary>
/// A queue as its device sees it, whichever ring layout the driver chose: take chains, complete each once. All but
/// <see cref="CompleteLater"/> is called under the device's lock. Nothing here throws for what a guest did: a mistake makes the
/// device ask for a reset, and the queue is then empty.
/// </summary>
public sealed partial class Virtqueue
{
    private readonly VirtioControl _device;
    private readonly List<ChainSlot> _slots = [];
    private readonly Stack<ChainSlot> _free = [];

    // Chains that TryTake gives out before those in the ring: given back by the device, or in flight when state was saved. The last is next.
    private readonly List<ChainSlot> _again = [];

    // In-order: what was taken, in that order.
    private readonly Queue<ChainSlot> _order = [];

    private GuestMemory? _memory;
    private Ring? _ring;
    private QueueState _s;
    private int _inFlight;
    private int _stale;
    private int _segments;
    private int _budget;
    private bool _inBatch;
    private bool _stalled;

    internal Virtqueue(VirtioControl device, int index) => (_device, Index) = (device, index);

    /// <summary>The queue's number in its device.</summary>
    public int Index { get; }

    /// <summary>Whether the driver has enabled it.</summary>
    public bool IsReady => _s.Ready;

    /// <summary>Descriptors in its ring, as the driver chose.</summary>
    public int Size => _s.Size;

    /// <summary>Chains that were taken and not completed.</summary>
    public int InFlight => _inFlight;

    /// <summary>Whether a chain can be taken now.</summary>
    public bool HasAvailable => CanTake && (_again.Count > 0 || LooksAvailable());

    internal GuestMemory Memory => _memory ?? throw new InvalidOperationException("The device is not connected to a transport.");

    /// <summary>Whether chains taken before a reset are still with the device; until they are completed none is taken.</summary>
    internal bool IsDraining => _stale > 0;

    internal bool IsScheduled { get; set; }

    /// <summary>Takes the next chain. When there is none the driver will notify of the next one, which brings another call of <see cref="VirtioDevice.OnQueue"/>.</summary>
    /// <param name="chain">The chain; complete it, also if it is not what it should be.</param>
    /// <returns>Whether there was one.</returns>
    public bool TryTake(out DescriptorChain chain)
    {
        chain = default;
        if (!CanTake) return false;
        if (_again.Count > 0)
        {
            var slot = _again[^1];
            _again.RemoveAt(_again.Count - 1);
            chain = new DescriptorChain(this, slot);
            return true;
        }

        if (_inBatch && _budget == 0) return Stall();
        if (_segments > VirtqueueLimits.SegmentsInFlight - VirtqueueLimits.Segments) return Stall();
        return TryTakeFromRing(out chain);
    }

    /// <summary>Gives back a chain that cannot be served yet (no room, no data, a rate limit): the next <see cref="TryTake"/> returns it again.</summary>
    /// <param name="chain">A chain that was taken.</param>
    public void PutBack(DescriptorChain chain)
    {
        if (Own(chain) is not { } slot) return;
        if (slot.IsStale) Release(slot);
        else _again.Add(slot);
    }

    /// <summary>Gives a chain back to the driver. After a reset, or a second time, it does nothing that a guest could see.</summary>
    /// <param name="chain">A chain that was taken.</param>
    /// <param name="written">Bytes written into its writable part, from the front; capped by its length.</param>
    public void Complete(DescriptorChain chain, uint written)
    {
        if (Own(chain) is not { } slot) return;
        slot.Written = (uint)Math.Min(written, slot.WritableLength);
        if (slot.IsLent) AccountForLent(slot);
        if (slot.IsStale || !_s.Ready || _device.IsBroken || !_device.MayTransfer)
        {
            Release(slot);
            return;
        }

        if (_s.InOrder) CompleteInOrder(slot);
        else Use(slot);
        if (!_inBatch) Signal();
        if (_stalled && !_inBatch) Resume();
    }

    /// <summary>
    /// The same from any thread, without the device's lock: by the device's inlet, so that it waits while the machine is paused. A device
    /// that is not in a machine takes its lock and completes at once.
    /// </summary>
    /// <param name="chain">A chain that was taken.</param>
    /// <param name="written">Bytes written into its writable part, from the front.</param>
    public void CompleteLater(DescriptorChain chain, uint written) => _device.Post(new VirtqueueCompletion(this, chain, written));

    /// <summary>Marks the device as broken, for a request that makes it impossible to go on. Malformed requests that have an error answer get that instead.</summary>
    /// <param name="reason">What the guest did, for the log.</param>
    public void Fail(string reason) => _device.Break(Index, reason);

    private bool CanTake => _s.Ready && !IsDraining && !_device.IsBroken && _device.IsDriverReady && _device.MayTransfer;

    private ChainSlot? Own(DescriptorChain chain) => chain.Queue == this && chain.Slot is { IsDone: false } slot && !_again.Contains(slot) ? slot : null;

    private bool LooksAvailable()
    {
        if (_ring!.HasAvailable(ref _s)) return true;
        if (_ring.Fault is { } fault) Fail(fault);
        return false;
    }

    private bool TryTakeFromRing(out DescriptorChain chain)
    {
        chain = default;
        if (!LooksAvailable())
        {
            if (!_s.Ready || _device.IsBroken) return false;
            _ring!.SetNotifications(ref _s, wanted: true);
            if (!LooksAvailable()) return false;
        }

        if (_inFlight == _s.Size)
        {
            Fail("more chains are available than the queue has descriptors");
            return false;
        }

        _ring!.SetNotifications(ref _s, wanted: false);
        var slot = TakeSlot();
        if (!_ring.TryTake(ref _s, slot))
        {
            ReturnSlot(slot);
            if (_ring.Fault is { } fault) Fail(fault);
            return false;
        }

        _budget--;
        _inFlight++;
        _segments += slot.Count;
        if (_s.InOrder) _order.Enqueue(slot);
        chain = new DescriptorChain(this, slot);
        return true;
    }

    private void CompleteInOrder(ChainSlot slot)
    {
        slot.IsDone = true;
        while (_order.TryPeek(out var first) && first.IsDone)
        {
            _order.Dequeue();
            Use(first);
        }
    }

    private void Use(ChainSlot slot)
    {
        var done = _ring!.Use(ref _s, slot);
        Release(slot);
        if (!done) Fail(_ring.Fault!);
    }

    private void Release(ChainSlot slot)
    {
        _inFlight -= slot.IsStale ? 0 : 1;
        _segments -= slot.Count;
        var drained = slot.IsStale && --_stale == 0;
        ReturnSlot(slot);
        if (drained) _device.OnDrained(this);
    }

    private bool Stall()
    {
        _stalled = true;
        return false;
    }

    private void Resume()
    {
        _stalled = false;
        _device.Schedule(this);
    }

    private void Signal()
    {
        if (_s.Unsignalled != 0 && _ring!.WantsInterrupt(ref _s)) _device.Interrupt(this);
    }

    private void AccountForLent(ChainSlot slot)
    {
        ulong left = slot.Written;
        foreach (var segment in slot.Writable)
        {
            if (left == 0) break;
            var count = Math.Min(left, segment.Length);
            Memory.Written(segment.Address, count);
            left -= count;
        }
    }

    private ChainSlot TakeSlot()
    {
        if (!_free.TryPop(out var slot))
        {
            slot = new ChainSlot();
            _slots.Add(slot);
        }

        slot.Begin();
        return slot;
    }

    private void ReturnSlot(ChainSlot slot)
    {
        slot.End();
        _free.Push(slot);
    }
}
