using Vmm.Core.State;

namespace Vmm.Devices.Virtio.Queues;

public sealed partial class Virtqueue : IStateful
{
    private SavedChain[] _savedChains = [];
    private SavedSegment[] _savedSegments = [];

    /// <inheritdoc/>
    /// <remarks>Chains that were taken and not completed are saved with the queue: after a load they are taken again, before any in the ring.</remarks>
    void IStateful.VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Size);
        visitor.Field(2, ref _s.Ready);
        visitor.Field(3, ref _s.Packed);
        visitor.Field(4, ref _s.EventIndex);
        visitor.Field(5, ref _s.Indirect);
        visitor.Field(6, ref _s.InOrder);
        visitor.Field(7, ref _s.DescriptorArea);
        visitor.Field(8, ref _s.DriverArea);
        visitor.Field(9, ref _s.DeviceArea);
        visitor.Field(10, ref _s.Vector);
        visitor.Field(11, ref _s.NextAvailable);
        visitor.Field(12, ref _s.NextUsed);
        visitor.Field(13, ref _s.AvailableWrap);
        visitor.Field(14, ref _s.UsedWrap);
        visitor.Field(15, ref _s.Unsignalled);
        visitor.Field(16, ref _s.Suppressed);
        if (visitor.IsLoading) (_savedChains, _savedSegments) = ([], []);
        else SaveChains();
        visitor.List(17, ref _savedChains, VirtqueueLimits.QueueSize);
        visitor.List(18, ref _savedSegments, VirtqueueLimits.SegmentsInFlight);
    }

    /// <inheritdoc/>
    void IStateful.OnStateLoaded()
    {
        var (chains, segments) = (_savedChains, _savedSegments);
        (_savedChains, _savedSegments) = ([], []);
        Abandon();
        if (_memory is null) return;
        _s.Unsignalled = Math.Clamp(_s.Unsignalled, 0, ushort.MaxValue);
        ChooseRing();
        if (!_s.Ready) return;
        if ((Unsound() ?? (_ring!.HasSoundPositions(_s) ? LoadChains(chains, segments) : "a position is outside its ring")) is not { } fault) return;
        Abandon();
        foreach (var slot in _slots) slot.End();
        Abandon();
        _s.Ready = false;
        Fail($"saved state: {fault}");
    }

    private void SaveChains()
    {
        var chains = new List<SavedChain>();
        var segments = new List<SavedSegment>();
        IEnumerable<ChainSlot> slots = _s.InOrder ? _order : _slots.Where(s => s is { InUse: true, IsStale: false });
        foreach (var slot in slots)
        {
            chains.Add(new SavedChain
            {
                Id = slot.Id, RingSlots = (ushort)slot.RingSlots, Readable = (ushort)slot.Readable.Length, Writable = (ushort)slot.Writable.Length,
                Written = slot.Written, Done = slot.IsDone ? 1u : 0,
            });
            foreach (var segment in slot.Readable) segments.Add(new SavedSegment { Address = segment.Address, Length = segment.Length });
            foreach (var segment in slot.Writable) segments.Add(new SavedSegment { Address = segment.Address, Length = segment.Length });
        }

        (_savedChains, _savedSegments) = ([.. chains], [.. segments]);
    }

    private string? LoadChains(SavedChain[] chains, SavedSegment[] segments)
    {
        if (chains.Length > _s.Size) return "more chains are in flight than the queue has descriptors";
        var at = 0;
        foreach (var chain in chains)
        {
            if (chain.RingSlots == 0 || chain.RingSlots > _s.Size || (!_s.Packed && chain.Id >= _s.Size)) return "a chain in flight is not of this queue";
            if (segments.Length - at < chain.Readable + chain.Writable) return "a chain in flight has too few segments";
            var slot = TakeSlot();
            (slot.Id, slot.RingSlots) = (chain.Id, chain.RingSlots);
            for (var i = 0; i < chain.Readable + chain.Writable; i++, at++)
            {
                if (segments[at].Length > uint.MaxValue) return "a segment of a chain in flight is too long";
                if (slot.Add(Memory, segments[at].Address, (uint)segments[at].Length, i >= chain.Readable) is { } fault) return fault;
            }

            slot.Written = (uint)Math.Min(chain.Written, slot.WritableLength);
            slot.IsDone = _s.InOrder && chain.Done != 0;
            _inFlight++;
            _segments += slot.Count;
            if (_s.InOrder) _order.Enqueue(slot);
            if (!slot.IsDone) _again.Insert(0, slot);
        }

        return null;
    }
}
