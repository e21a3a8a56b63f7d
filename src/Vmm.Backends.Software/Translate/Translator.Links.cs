using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Translate;

/// <summary>How parts of the code lead to each other. A branch has its operand where one store changes it.</summary>
// SAFETY: what is kept of blocks lives until no processor has anything of their translations.
internal sealed unsafe partial class Translator
{
    // Branches that are linked to other pages, and the numbers of the translations there.
    private readonly List<(int Site, int Target)> _across = [];

    // Pages that such branches lead to, as far as they were found to be mapped alike for all processors, and the large pages that these are in.
    private readonly HashSet<ulong> _alike = [];
    private readonly PageFilter _alikePages = new();
    private readonly LargePageFilter _alikeLarge = new();

    /// <summary>Lets a branch lead straight to its target, if that is translated. Zero if not; else the target's code.</summary>
    public nint TryLink(int index)
    {
        lock (_lock)
        {
            ref var site = ref Sites[index];
            var translation = Sites.TranslationOf(site);
            if (site.Patch == 0 || translation.Dropped || IsLinked(site)) return 0;
            var from = translation.Block;
            var physical = (from->Physical & ~0xFFFUL) | (site.Target & 0xFFF);
            var block = _kept.Find(physical, from->Mode);
            if (block == null || Find(block, site.Target, translation.View) is not { } target) return 0;
            if (block->Second != 0)
            {
                LeadByLookup(ref site, translation);
                return 0;
            }

            Link(ref site, index, target);
            return Address(target);
        }
    }

    /// <summary>Whether a branch, which could be linked, leads to another page.</summary>
    public bool LeadsAcross(int index) => Sites[index].Patch != 0 && (Sites[index].Target ^ Sites.TranslationOf(Sites[index]).Rip) >> 12 != 0;

    /// <summary>Lets a branch to another page lead straight to its target, if all processors have that page mapped alike and as global; else by the cache of targets.</summary>
    public void LinkAcross(Executor by, int index, Translation target, bool global)
    {
        lock (_lock)
        {
            ref var site = ref Sites[index];
            var translation = Sites.TranslationOf(site);
            // Another may have taken its place since it was found.
            target = Latest(target);
            if (translation.Dropped || target.Dropped || IsLinked(site)) return;
            if (!global || target.Block->Second != 0 || !IsAlike(by, target))
            {
                LeadByLookup(ref site, translation);
                return;
            }

            Link(ref site, index, target);
            _across.Add((index, target.Number));
        }
    }

    /// <summary>A processor does not map a page of the upper half as it did.</summary>
    public void Unlink(ulong linear)
    {
        // Whoever links adds the page before he looks at the page tables, which were changed before this.
        Interlocked.MemoryBarrier();
        if (!_alikePages.MayHave(linear) && _alikeLarge.ShiftAt(linear) == 12) return;
        UnlinkAll();
    }

    /// <summary>A processor does not map pages as it did.</summary>
    public void UnlinkAll()
    {
        lock (_lock) UnlinkAcross();
    }

    /// <summary>Lets a group of accesses that lies across a page end lead to code that checks each for itself. Zero if there can be none.</summary>
    public nint TrySplit(int index, ReadOnlySpan<byte> code, BlockCache blocks)
    {
        lock (_lock)
        {
            ref var site = ref Sites[index];
            var translation = Sites.TranslationOf(site);
            var next = site.Patch + sizeof(int);
            if (_memory.Target(site.Patch) is var known && known != next) return _memory.Address(known);
            // Code that is running cannot be flushed.
            if (IsFull || translation.Dropped) return 0;
            var rest = _translator.TranslateRest(translation, site.Index, code, blocks);
            if (rest == 0) return 0;
            translation.Regions |= 1 << Sites.Region;
            _memory.Patch(site.Patch, rest);
            return _memory.Address(rest);
        }
    }

    private static Translation Latest(Translation translation)
    {
        while (translation.Hot is { } hot) translation = hot;
        return translation;
    }

    private bool IsLinked(in SiteEntry site) => _memory.Target(site.Patch) != site.Stub;

    private void Link(ref SiteEntry site, int index, Translation target)
    {
        _memory.Patch(site.Patch, site.Backward ? target.Entry : target.Body);
        (site.NextIncoming, target.Incoming) = (target.Incoming, index);
    }

    private void LeadByLookup(ref SiteEntry site, Translation translation)
    {
        if (IsFull) return;
        _memory.Patch(site.Patch, _translator.TranslateLookup(translation, site.Target, site.Backward));
        translation.Regions |= 1 << Sites.Region;
    }

    // Who came to one translation of a block comes to another.
    private void Replace(Translation old, Translation other)
    {
        for (var site = old.Incoming; site >= 0;)
        {
            ref var incoming = ref Sites[site];
            _memory.Patch(incoming.Patch, other.Entry);
            var next = incoming.NextIncoming;
            (incoming.NextIncoming, other.Incoming) = (other.Incoming, site);
            site = next;
        }

        (old.Incoming, old.Hot) = (-1, other);
    }

    // Whether no processor that runs code has something else where a translation of kernel code is: it might have it in its TLB from now on.
    private bool IsAlike(Executor by, Translation target)
    {
        var page = target.Rip >> 12;
        if (_alike.Contains(page)) return true;
        _alikePages.Add(target.Rip);
        Interlocked.MemoryBarrier();
        foreach (var executor in _executors)
        {
            while (true)
            {
                if (!by.Owner.MayFetchGlobal(executor.Owner, target.Rip, target.Block->Physical, out var shift)) return false;
                if (_alikeLarge.ShiftAt(target.Rip) >= shift) break;
                // The same for the large page.
                _alikeLarge.Add(target.Rip, shift);
                Interlocked.MemoryBarrier();
            }
        }

        return _alike.Add(page);
    }

    private void UnlinkAcross()
    {
        foreach (var (index, number) in _across)
        {
            ref var site = ref Sites[index];
            var target = Latest(Sites.Translation(number));
            // The branch may have been linked again after its target was dropped.
            if (target.Dropped) continue;
            _memory.Patch(site.Patch, site.Stub);
            if (target.Incoming == index)
            {
                target.Incoming = site.NextIncoming;
                continue;
            }

            var before = target.Incoming;
            while (Sites[before].NextIncoming != index) before = Sites[before].NextIncoming;
            Sites[before].NextIncoming = site.NextIncoming;
        }

        _across.Clear();
        _alike.Clear();
        _alikePages.Clear();
        _alikeLarge.Clear();
    }
}
