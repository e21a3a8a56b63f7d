// Virtio 1.3, 2.6.1 "Virtqueue Reset", 2.7, 2.8, 4.1.5.1.3 "Virtqueue Configuration".
using Vmm.Core.Memory;

namespace Vmm.Devices.Virtio.Queues;

public sealed partial class Virtqueue
{
    private int _maximum;

    /// <summary>The registers; a transport changes them while the queue is not ready.</summary>
    internal ref QueueState Registers => ref _s;

    /// <summary>The most descriptors that the driver may choose.</summary>
    internal int MaximumSize => _maximum;

    internal void Connect(GuestMemory memory, int maximum)
    {
        (_memory, _maximum) = (memory, maximum);
        Reset();
    }

    /// <summary>Enables the queue as its registers and the negotiated features say. Returns what is wrong, or null.</summary>
    internal string? Enable(ulong features)
    {
        _s.Packed = (features & VirtioFeatures.RingPacked) != 0;
        _s.EventIndex = (features & VirtioFeatures.EventIndex) != 0;
        _s.Indirect = (features & VirtioFeatures.IndirectDescriptors) != 0;
        _s.InOrder = (features & VirtioFeatures.InOrder) != 0;
        ChooseRing();
        if (Unsound() is { } fault) return fault;
        _ring!.Start(ref _s);
        (_s.Unsignalled, _s.Suppressed) = (0, false);
        _s.Ready = true;
        return null;
    }

    /// <summary>Back to power-on. Chains that the device still has become stale: their completion reaches nobody.</summary>
    internal void Reset()
    {
        Abandon();
        _ring?.Forget();
        _s = new QueueState { Size = (ushort)_maximum, Vector = ushort.MaxValue };
        (_stalled, _budget) = (false, 0);
    }

    internal void BeginBatch()
    {
        _inBatch = true;
        _budget = _s.Size * VirtqueueLimits.RoundsPerNotification;
    }

    internal void EndBatch()
    {
        _inBatch = false;
        if (!_s.Ready || _device.IsBroken) return;
        Signal();
        if (_stalled && (_budget == 0 || _inFlight == 0)) Resume();
    }

    private void ChooseRing()
    {
        if (_s.Packed != _ring is PackedRing || _ring is null) _ring = _s.Packed ? new PackedRing(Memory) : new SplitRing(Memory);
        _ring.Forget();
    }

    private string? Unsound()
    {
        if (_s.Size > _maximum || !_ring!.IsSize(_s.Size)) return "the queue's size is not one it can have";
        var (descriptors, driver, device) = _ring.Layout(_s.Size, _s.EventIndex);
        return IsArea(_s.DescriptorArea, descriptors) && IsArea(_s.DriverArea, driver) && IsArea(_s.DeviceArea, device) ? null : "an area of the queue is misaligned or not in RAM";
    }

    private bool IsArea(ulong address, (ulong Length, ulong Alignment) area) =>
        address % area.Alignment == 0 && address + (area.Length - 1) >= address && Memory.IsRam(address, area.Length);

    private void Abandon()
    {
        // What waits here to be taken again is with nobody.
        foreach (var slot in _again) slot.End();
        foreach (var slot in _order)
        {
            if (slot.IsDone) slot.End();
        }

        _free.Clear();
        (_stale, _segments) = (0, 0);
        foreach (var slot in _slots)
        {
            if (slot.InUse && !slot.IsDone)
            {
                slot.IsStale = true;
                _stale++;
                _segments += slot.Count;
            }
            else
            {
                _free.Push(slot);
            }
        }

        _again.Clear();
        _order.Clear();
        _inFlight = 0;
    }
}
