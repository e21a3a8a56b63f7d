using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Mmu;

/// <summary>Pages with decoded code that translated code writes to: behind the arrays alone, where each write is looked at.</summary>
internal sealed unsafe partial class Tlb
{
    /// <summary>Pages with decoded code that translated code writes to by itself, at a time.</summary>
    public const int Marks = 256;

    /// <summary>In the addend of a page behind the arrays: it has decoded code, and comes into no array.</summary>
    public const int MarkedBit = 1;

    /// <summary>Lets translated code write beside the code in a page. False if it knows the page already, or there is no place for it.</summary>
    /// <param name="set">The set.</param>
    /// <param name="linear">The address.</param>
    /// <param name="host">Where that is.</param>
    /// <param name="global">Whether the translation is global.</param>
    /// <param name="page">What is decoded of the page; it outlives this.</param>
    public bool TryMark(int set, ulong linear, nint host, bool global, CodePage* page)
    {
        if (global != (long)linear < 0) return false;
        var (key, addend) = (Key(set, true, linear), ((ulong)host - linear) | MarkedBit);
        // SAFETY: the memory has room for as many.
        ref var mark = ref ((MarkedPage*)_all.Marks)[(host >> 12) & (Marks - 1)];
        var hostPage = host & ~(nint)0xFFF;
        if (mark.Host == hostPage && _behind.TryFind(key, Tag(linear), out var known) && known == addend) return false;
        mark = new MarkedPage { Host = hostPage, Page = page };
        _behind.Fill(key, Tag(linear), addend);
        return true;
    }

    private struct MarkedPage
    {
        public nint Host;
        public CodePage* Page;
    }
}
