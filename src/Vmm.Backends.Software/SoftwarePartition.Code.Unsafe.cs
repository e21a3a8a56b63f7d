using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Translate;
using Vmm.Core.Memory;

namespace Vmm.Backends.Software;

/// <summary>
/// Writes to decoded code. While a page is marked, no processor has it for writing in its TLB: each write is seen, and asks here whether it
/// met bytes that were decoded. Whoever decodes takes a copy of the bytes, marks them and then looks whether they are still the same; whoever writes
/// does so before it looks at the marks. So one of the two sees the other.
/// </summary>
// SAFETY: what the map gives for a page of a region lives as long as this.
internal sealed unsafe partial class SoftwarePartition
{
    // A write beside code costs some 20 to 200 ns, to drop a page's code and make it anew a hundred times that. A page that is code no more is
    // given up after the fewest; one that comes back as code each time is left in peace for ever longer.
    private const int LeastPatience = 256, MostPatience = 256 << 10;

    // A write of so many bytes looks like memory that is used anew.
    private const uint LongWrite = 512;

    private readonly CodeMap _code = new();
    private readonly Lock _marks = new();
    // Of translated code. Whoever holds it may take those of the marks and of a processor's requests, and waits for no processor.
    private readonly Lock _translation = new();
    private readonly List<(int View, ulong Rip)> _none = [];
    private Translator? _translator;
    // Processors that have marked a page and wait for the others to write to it no more.
    private int _marking;

    /// <summary>Marks bytes of one page as decoded by a processor. Once this returns, writes to them are seen.</summary>
    public void MarkCode(Vcpu by, MemoryRegion region, ulong gpa, int length)
    {
        var host = region.HostAddress + (nint)((gpa - region.Start) / MemoryRegion.PageSize * MemoryRegion.PageSize);
        while (TryMark(region, gpa, length, out var first))
        {
            by.DropWrites(host);
            foreach (var other in _vcpus)
            {
                if (other != by) other.WaitForInvalidation(by, host);
            }

            if (first) lock (_marks) _marking--;
            // Who wrote meanwhile took the mark, and asked for what was decoded to be dropped: this processor did so as it waited, before there was anything to drop.
            if (IsMarked(region, gpa, length)) return;
        }
    }

    /// <summary>Whether all of some bytes of one page are marked.</summary>
    public bool IsMarked(MemoryRegion region, ulong gpa, int length) => (~Volatile.Read(ref _code.Find(region, gpa)->Granules) & CodeMap.Granules(gpa, (uint)length)) == 0;

    // True: there may be processors that write to the page.
    private bool TryMark(MemoryRegion region, ulong gpa, int length, out bool first)
    {
        var page = _code.Find(region, gpa);
        lock (_marks)
        {
            Interlocked.Or(ref page->Granules, CodeMap.Granules(gpa, (uint)length));
            first = (region.SetFlags((gpa - region.Start) / MemoryRegion.PageSize, PageFlags.Code) & PageFlags.Code) == 0;
            if (!first) return _marking != 0;
            page->Left = page->Patience = Math.Max(page->Patience, LeastPatience);
            _marking++;
            return true;
        }
    }

    /// <summary>A processor, or another thread, has written bytes of one page that was marked: every processor drops what was decoded of them, the writer at once.</summary>
    public void CodeWritten(Vcpu? by, MemoryRegion region, ulong gpa, uint length)
    {
        var page = _code.Find(region, gpa);
        if (by is not null && !Single) Interlocked.MemoryBarrier();
        var all = Volatile.Read(ref page->Granules);
        var granules = all & CodeMap.Granules(gpa, length);
        if (granules != 0 || (all == 0 && length >= LongWrite))
        {
            DropCode(by, region, gpa, granules, release: length >= LongWrite);
        }
        else if (by is not null && --page->Left < 0)
        {
            // At the end of its block, whichever engine runs it: they count differently.
            page->Left = LeastPatience;
            by.RequestGivingUp(gpa);
        }
    }

    /// <summary>A page was often written to beside its code, which is dropped: perhaps it is code no more. A processor's own thread.</summary>
    public void GiveUp(Vcpu by, ulong gpa)
    {
        if (Memory.Find(gpa) is not { } region) return;
        var page = _code.Find(region, gpa);
        page->Patience = Math.Min(page->Patience * 2, MostPatience);
        DropCode(by, region, gpa, ulong.MaxValue, release: true);
    }

    /// <summary>What is decoded of a page, for translated code.</summary>
    public CodePage* CodePage(MemoryRegion region, ulong gpa) => _code.Find(region, gpa);

    /// <summary>All processors drop what was decoded of some granules of a page, the caller's at once.</summary>
    /// <param name="by">The processor whose thread this is; null if it is no processor's.</param>
    /// <param name="region">The region of the page.</param>
    /// <param name="gpa">An address in the page.</param>
    /// <param name="granules">The granules.</param>
    /// <param name="release">If nothing decoded is left, writes are not looked at any more. Where code is patched, it would be marked again soon.</param>
    public void DropCode(Vcpu? by, MemoryRegion region, ulong gpa, ulong granules, bool release)
    {
        var page = _code.Find(region, gpa);
        // As one: who translates under this lock has been asked to drop all that is not marked any more.
        lock (_translation)
        {
            lock (_marks)
            {
                Interlocked.And(ref page->Granules, ~granules);
                if (release && page->Granules == 0) region.ClearFlags((gpa - region.Start) / MemoryRegion.PageSize, PageFlags.Code);
            }

            // Behind that: what is decoded from now on is marked again.
            var targets = _translator?.Drop(gpa, granules) ?? _none;
            foreach (var vcpu in _vcpus)
            {
                if (vcpu != by) vcpu.RequestDrop(gpa, granules, targets);
            }

            by?.DropCode(gpa, granules, targets);
        }
    }

    /// <summary>The machine's translator, which is made when the first processor asks. Null where the host lacks what it needs.</summary>
    public Translator? TakeTranslator()
    {
        lock (_translation) return _translator ??= Translator.TryCreate(_translation, Clock.IsCounted, Single, TranslateAfter, CodePart);
    }

    private void HostWroteCode(ulong gpa, uint length)
    {
        // If the region was removed meanwhile, all that was made of it goes.
        if (Memory.Find(gpa) is { } region) CodeWritten(null, region, gpa, length);
    }

    private void RegionsChanged(MemoryRegion region)
    {
        lock (_translation)
        {
            _translator?.DropAll();
            foreach (var vcpu in _vcpus) vcpu.RequestFullFlush();
        }
    }
}
