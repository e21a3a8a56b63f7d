using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// How code is dropped: with the guest code it was made of, or with the region it is in. Nothing leads into it afterwards, but its memory is not
/// used again before its region is emptied, as it may be running.
/// </summary>
// SAFETY: blocks of translations live until all of both are dropped, and no processor has anything of them.
internal sealed unsafe partial class Translator
{
    private readonly List<(int View, ulong Rip)> _droppedTargets = [];
    private Leaving _leaving;

    private enum Leaving
    {
        Nobody,
        Region,
        All,
    }

    /// <summary>
    /// Drops all translations that were made of some granules of a guest-physical page. Code that runs meanwhile runs on to its next exit. The lock must be
    /// held until all processors were asked to forget the targets that are returned, which hold until this is called again.
    /// </summary>
    public List<(int View, ulong Rip)> Drop(ulong gpa, ulong granules)
    {
        _droppedTargets.Clear();
        foreach (var block in _kept.Drop(gpa, granules))
        {
            while (((Block*)block)->Translation != 0) Dropped += DropWithKin(Sites.Translation(((Block*)block)->Translation));
        }

        return _droppedTargets;
    }

    /// <summary>Drops everything. The lock must be held until all processors were asked to.</summary>
    public void DropAll()
    {
        foreach (var translation in Sites.Translations)
        {
            if (translation is null) continue;
            translation.Dropped = true;
            translation.Block->Translation = 0;
        }

        _places.Clear();
        _kept.TakeAll();
        UnlinkAcross();
        _leaving = Leaving.All;
    }

    // How many that were.
    private int DropWithKin(Translation first)
    {
        var (translation, count) = (first, 0);
        do
        {
            Drop(translation);
            translation = translation.Kin;
            count++;
        }
        while (translation != first);
        return count;
    }

    private void Drop(Translation translation)
    {
        translation.Dropped = true;
        Remove(translation);
        if (translation.Entry == 0) return;
        _droppedTargets.Add((translation.View, translation.Rip));
        for (var site = translation.Incoming; site >= 0; site = Sites[site].NextIncoming) _memory.Patch(Sites[site].Patch, Sites[site].Stub);
        translation.Incoming = -1;
    }

    // From the lists of its block and of its place.
    private void Remove(Translation translation)
    {
        if (translation.Next != 0) Sites.Translation(translation.Next).Previous = translation.Previous;
        if (translation.Previous != 0) Sites.Translation(translation.Previous).Next = translation.Next;
        else translation.Block->Translation = translation.Next;
        // It is as warm as it was before the first.
        if (translation.Block->Translation == 0) translation.Block->Heat = Threshold;
        if (translation.Entry != 0) _places.Remove(translation);
    }

    // Whether there is room to translate. If not the oldest region is about to be emptied, for which all processors have to leave it.
    private bool HasRoom()
    {
        if (_leaving == Leaving.Nobody && IsFull) BeginEmptying();
        return TryEmpty();
    }

    // What has code in the region is dropped, with its kin elsewhere, which lies idle until its own region goes.
    private void BeginEmptying()
    {
        _leaving = Leaving.Region;
        var bit = 1 << NextRegion;
        foreach (var translation in Sites.Translations)
        {
            if (translation is { Dropped: false } && (translation.Regions & bit) != 0) DropWithKin(translation);
        }

        foreach (var executor in _executors) executor.Owner.RequestLeaving();
    }

    // When no processor has anything of what was dropped any more, its memory is used again.
    private bool TryEmpty()
    {
        if (_leaving == Leaving.Nobody) return true;
        foreach (var executor in _executors)
        {
            if (!executor.Owner.HasLeft) return false;
        }

        if (_leaving == Leaving.All) EmptyAll();
        else EmptyNextRegion();
        _leaving = Leaving.Nobody;
        Flushes++;
        return true;
    }

    /// <summary>How often a region was emptied, or everything.</summary>
    public int Flushes { get; private set; }

    private int NextRegion => (Sites.Region + 1) % CodeMemory.Regions;

    private void EmptyAll()
    {
        Sites.Clear();
        _kept.Clear();
        _translator.ForgetWindows();
        (_emitter.At, _emitter.Cold) = (_start, _memory.Start(0, cold: true));
    }

    // And goes on in it.
    private void EmptyNextRegion()
    {
        var region = NextRegion;
        var bit = 1 << region;
        _across.RemoveAll(a => Sites.RegionOf(a.Site) == region || Sites.Translation(a.Target).Dropped);
        foreach (var translation in Sites.Translations)
        {
            if (translation is null) continue;
            ForgetIncoming(translation, region);
            if ((translation.Regions & bit) == 0) continue;
            translation.Regions &= ~bit;
            if (translation.Regions == 0) Sites.Forget(translation);
        }

        _translator.FreeWindows(region);
        Sites.Begin(region);
        (_emitter.At, _emitter.Cold) = (region == 0 ? _start : _memory.Start(region, cold: false), _memory.Start(region, cold: true));
    }

    // Branches in a region lead nowhere any more.
    private void ForgetIncoming(Translation translation, int region)
    {
        var kept = -1;
        for (int site = translation.Incoming, next; site >= 0; site = next)
        {
            next = Sites[site].NextIncoming;
            if (Sites.RegionOf(site) == region) continue;
            (Sites[site].NextIncoming, kept) = (kept, site);
        }

        translation.Incoming = kept;
    }
}
