using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// How code is dropped: with the guest code it was made of, or with the region it is in. Nothing leads into it afterwards, but its memory is not
/// used again before its region is emptied, as it may be running.
/// </summary>
// SAFETY: blocks of translations live until all of both are dropped.
internal sealed unsafe partial class Translator
{
    /// <summary>Drops all translations that a block is part of. Code that runs meanwhile runs on to its next exit.</summary>
    public void Drop(Block* block)
    {
        while (block->Translation != 0) Dropped += DropWithKin(Sites.Translation(block->Translation));
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
        Targets.Drop(translation.View, translation.Rip);
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

    /// <summary>Drops everything. No translated code may be running.</summary>
    public void FlushAll()
    {
        foreach (var translation in Sites.Translations)
        {
            if (translation is null) continue;
            translation.Dropped = true;
            (translation.Block->Translation, translation.Block->Heat) = (0, Threshold);
        }

        _places.Clear();
        Targets.FlushAll();
        _across.Clear();
        Flushes++;
        Sites.Clear();
        _translator.ForgetWindows();
        (_emitter.At, _emitter.Cold) = (_start, _memory.Start(0, cold: true));
    }

    // Empties the oldest region, and goes on in it. What has code in it is dropped, with its kin elsewhere, which lies idle until its own region goes.
    private void NextRegion()
    {
        var region = (Sites.Region + 1) % CodeMemory.Regions;
        var bit = 1 << region;
        foreach (var translation in Sites.Translations)
        {
            if (translation is { Dropped: false } && (translation.Regions & bit) != 0) DropWithKin(translation);
        }

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
        Flushes++;
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
