using System.Numerics;

namespace Vmm.Backends.Software.Mmu;

/// <summary>How windows are closed when what they are open on may no longer be accessed so.</summary>
// SAFETY: the numbers of windows, in the list of those that moved too, are those of the table.
internal sealed unsafe partial class Windows
{
    /// <summary>Closes all windows.</summary>
    public void CloseAll()
    {
        // Nothing is touched before there is code.
        if (_table is null) return;
        for (var i = 0; i < Runs; i++) CloseRun(i);
        // What has moved since has no home yet.
        for (; *_moved > 0; --*_moved)
        {
            Close((int)_moved[*_moved]);
            _windows[_moved[*_moved]].Unlisted = 1;
        }

        CloseHomes(0);
    }

    /// <summary>Closes those that do not outlive writes of CR3.</summary>
    /// <param name="tlb">Still has what is about to go.</param>
    public void CloseNonGlobal(Tlb tlb)
    {
        if (_table is null) return;
        Settle(tlb);
        for (var left = _open & ~_global; left != 0; left &= left - 1) CloseRun(BitOperations.TrailingZeroCount(left));
        CloseHomes(Homes);
    }

    /// <summary>Closes those on a page.</summary>
    /// <param name="tlb">Still has what is about to go.</param>
    /// <param name="linear">An address in it.</param>
    /// <param name="shift">The binary logarithm of its size, at least.</param>
    public void ClosePage(Tlb tlb, ulong linear, int shift)
    {
        if (_table is null) return;
        Settle(tlb);
        for (var left = _open; left != 0; left &= left - 1)
        {
            var i = BitOperations.TrailingZeroCount(left);
            ref var run = ref _runs[i];
            // A run may have part of a large page, which goes away as a whole.
            var larger = Math.Max(shift, run.Shift);
            if (linear >> larger >= run.Start >> larger && linear >> larger <= (run.Start + (run.Length - 1)) >> larger) CloseRun(i);
        }

        if (shift == 12)
        {
            CloseHome(HomeOf(linear, true), linear, 12);
            CloseHome(HomeOf(linear, false), linear, 12);
            return;
        }

        for (var home = 0; home < Homes * 2; home++) CloseHome(home, linear, shift);
    }

    /// <summary>Closes those that write to a host page.</summary>
    /// <param name="tlb">Still has what is about to go.</param>
    /// <param name="hostPage">The page.</param>
    /// <param name="linear">A page by which the TLB leads there; null if there is none.</param>
    public void CloseWrites(Tlb tlb, nint hostPage, ulong? linear)
    {
        if (_table is null) return;
        CloseRuns(hostPage);
        if (linear is not { } page) return;
        Settle(tlb);
        CloseHome(HomeOf(page, true), page, 12);
        CloseHome(HomeOf(page, false), page, 12);
    }

    /// <summary>Closes those that write to a host page wherever they are; zero means to any.</summary>
    public void CloseAllWrites(Tlb tlb, nint hostPage)
    {
        if (_table is null) return;
        CloseRuns(hostPage);
        Settle(tlb);
        for (var home = 0; home < Homes * 2; home++)
        {
            for (var window = _homes[home]; window >= 0;)
            {
                ref var w = ref _windows[window];
                var next = _holders[window].Next;
                if ((w.Array & 1) != 0 && (hostPage == 0 || ((ulong)w.Addend + w.Start & ~0xFFFUL) == (ulong)hostPage)) CloseAt(window);
                window = next;
            }
        }
    }

    private void CloseRuns(nint hostPage)
    {
        for (var left = _open & _writing; left != 0; left &= left - 1)
        {
            var i = BitOperations.TrailingZeroCount(left);
            ref var run = ref _runs[i];
            if (hostPage == 0 || (ulong)hostPage - (run.Start + (ulong)run.Addend) < run.Length) CloseRun(i);
        }
    }

    // Windows that moved by themselves are put where they are found by their page.
    private void Settle(Tlb tlb)
    {
        for (; *_moved > 0; --*_moved)
        {
            var window = (int)_moved[*_moved];
            ref var w = ref _windows[window];
            w.Unlisted = 1;
            Unlink(window);
            var home = HomeOf(w.Start, tlb.IsGlobal(w.Start));
            (_holders[window].In, _holders[window].Place) = (Lists.Home, home);
            Link(ref _homes[home], window);
            _settled[home / 64] |= 1UL << home;
        }
    }

    private static int HomeOf(ulong linear, bool global) => (int)(linear >> 12) & (Homes - 1) | (global ? 0 : Homes);

    // All from one on.
    private void CloseHomes(int first)
    {
        for (var word = first / 64; word < _settled.Length; word++)
        {
            for (; _settled[word] != 0; _settled[word] &= _settled[word] - 1)
            {
                var home = word * 64 + BitOperations.TrailingZeroCount(_settled[word]);
                while (_homes[home] >= 0) CloseAt(_homes[home]);
            }
        }
    }

    private void CloseHome(int home, ulong linear, int shift)
    {
        for (var window = _homes[home]; window >= 0;)
        {
            var next = _holders[window].Next;
            if ((_windows[window].Start ^ linear) >> shift == 0) CloseAt(window);
            window = next;
        }
    }

    private void CloseAt(int window)
    {
        Close(window);
        Unlink(window);
    }
}
