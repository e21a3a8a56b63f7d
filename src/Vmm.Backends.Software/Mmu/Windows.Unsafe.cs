using System.Diagnostics;
using System.Numerics;

namespace Vmm.Backends.Software.Mmu;

/// <summary>
/// Where the windows of hot code are open for one vCPU. Each belongs to one check in that code, and is open on part of a run of pages that are alike: a test
/// against it waits for no table, and finds what a TLB of pages would find for all of them. Windows change nothing that the guest sees: pages
/// are only taken whose accessed (and, for writes, dirty) bits are set, which hold no decoded code and are in no log of clean pages. They are
/// closed with the TLB entries of the same pages. Where runs are short, a window follows the TLB from page to page without C#; where it does that
/// too often to be of use, it is given up. Used by the processor's own thread, but for <see cref="Prepare"/>.
/// </summary>
internal sealed unsafe partial class Windows
{
    private const int Runs = 64;
    private const int Homes = 256;
    private const int MostPatience = 64;

    // A window on fewer bytes is better moved by the code itself.
    private const ulong ShortRun = 64 << 10;

    // One of so many moves is looked at, and after some looks what they took: a window that goes on to the next page is moved less often than one
    // that goes to and fro for the same good. The number is prime, so that all moves of a loop have their turn.
    private const int MovesALook = 61, Looks = 8;
    private static readonly long s_leastNear = MovesALook * Looks * 40 * Stopwatch.Frequency / 1_000_000_000, s_leastFar = s_leastNear * 25;

    private readonly Window* _windows;
    private readonly ulong* _moved;
    private int _patience;
    private ulong _nowhere;
    private readonly WindowRun[] _runs = new WindowRun[Runs];
    // The first window open on a run; -1 for none.
    private readonly int[] _first = new int[Runs];
    // Which runs there are, and which of them are written and are global.
    private ulong _open, _writing, _global;
    // The first window that moved to a page with a hash, for global pages and for others; -1 for none.
    private readonly int[] _homes = new int[Homes * 2];
    // Which of these there may be.
    private readonly ulong[] _settled = new ulong[Homes * 2 / 64];
    private Holder[] _holders = [];
    private WindowTable? _table;
    private int _next;

    /// <summary>Bytes of all windows; the list of those that moved by themselves follows, its length first.</summary>
    public static readonly int WindowsBytes = WindowTable.Count * sizeof(Window);

    /// <summary>Bytes of all.</summary>
    public static readonly int Bytes = WindowsBytes + (WindowTable.Count + 1) * sizeof(ulong);

    /// <param name="memory">Memory that outlives this.</param>
    public Windows(Cpu.VcpuMemory memory)
    {
        // SAFETY: the memory has room for as many windows and their list as a table can have; numbers are from there.
        _windows = (Window*)memory.Windows;
        _moved = (ulong*)(memory.Windows + WindowsBytes);
    }

    /// <summary>Before code is run.</summary>
    /// <param name="table">What windows there are.</param>
    /// <param name="patience">How often a new window's address is outside before it is opened; at least 2.</param>
    /// <param name="secret">Nothing that a guest could guess.</param>
    public void Begin(WindowTable table, int patience, ulong secret)
    {
        (_table, _patience) = (table, patience);
        Array.Fill(_first, -1);
        Array.Fill(_homes, -1);
        // Minus an address that is not canonical in any paging mode. The difference to one that is lies between 2^59 and 2^60, so that those
        // of a dozen closed windows do not add up to zero.
        _nowhere = 0x0A00_0000_0000_0000UL + (secret >> 6);
    }

    /// <summary>A window that code is about to have is closed. Whoever makes the code.</summary>
    /// <param name="window">A number that no code has that may run.</param>
    /// <param name="use">What it is for.</param>
    /// <param name="moves">It is one that always moves by itself.</param>
    public void Prepare(int window, in WindowUse use, bool moves)
    {
        Close(window);
        ref var w = ref _windows[window];
        (w.Left, w.Moves, w.Unlisted, w.Array, w.Constant) = (_patience, moves ? 1 : 0, 1, use.Array, use.Constant ?? 0);
    }

    /// <summary>Closes all windows, and forgets what became of them so far: the code of some is about to go.</summary>
    public void Reset()
    {
        CloseAll();
        Array.Clear(_holders);
    }

    /// <summary>Whether a window that moves by itself does so too often to be of use. It then no longer does.</summary>
    public bool MovesTooOften(int window, ulong linear)
    {
        ref var w = ref _windows[window];
        ref var holder = ref HolderOf(window);
        if (WindowTable.IsShared(window))
        {
            w.Left = int.MaxValue;
            return false;
        }

        w.Left = MovesALook;
        // Near is what follows half a page, or goes before it.
        if (w.Negated != _nowhere && linear - (w.Start - 2048) >= 3 * 2048) holder.Far++;
        if (++holder.Looks < Looks) return false;
        var now = Stopwatch.GetTimestamp();
        var often = now - holder.Since < (holder.Far * 2 > Looks ? s_leastFar : s_leastNear);
        (holder.Since, holder.Looks, holder.Far) = (now, 0, 0);
        if (often) (w.Left, w.Moves) = (int.MaxValue, 0);
        return often;
    }

    /// <summary>What a window is for.</summary>
    public (bool Write, int View) UseOf(int window) => (_table![window].Write, _table[window].View);

    /// <summary>Whether a window moves by itself.</summary>
    public bool Moves(int window) => _windows[window].Moves != 0;

    /// <summary>Lets a window follow the TLB.</summary>
    public void Release(int window)
    {
        ref var w = ref _windows[window];
        (w.Moves, w.Left, HolderOf(window).Since) = (1, MovesALook, Stopwatch.GetTimestamp());
    }

    /// <summary>Opens a window on a known run at an address. False if there is none.</summary>
    public bool TryOpen(int window, ulong linear)
    {
        ref readonly var use = ref _table![window];
        for (var left = _open; left != 0; left &= left - 1)
        {
            var i = BitOperations.TrailingZeroCount(left);
            ref var run = ref _runs[i];
            var at = linear - run.Start;
            if (at < run.Length && run.Length >= ShortRun && run.Length - at >= use.Span && run.View == use.View && (run.Write || !use.Write))
            {
                return (linear & use.Alignment) == 0 && Open(window, use, i, linear);
            }
        }

        return false;
    }

    /// <summary>Adds a run, or lets one that it goes on from grow.</summary>
    public void Add(in WindowRun run)
    {
        if (run.Length < ShortRun) return;
        for (var i = 0; i < Runs; i++)
        {
            ref var other = ref _runs[i];
            if (other.Length == 0 || other.View != run.View || other.Addend != run.Addend || other.Write != run.Write || other.Global != run.Global || other.Shift != run.Shift) continue;
            var (start, end) = (Math.Min(run.Start, other.Start), Math.Max(run.Start + (run.Length - 1), other.Start + (other.Length - 1)));
            // No gap between them.
            if (end - start - (run.Length - 1) > other.Length) continue;
            (other.Start, other.Length) = (start, end - start + 1);
            return;
        }

        CloseRun(_next);
        _runs[_next] = run;
        var bit = 1UL << _next;
        _open |= bit;
        _writing = run.Write ? _writing | bit : _writing & ~bit;
        _global = run.Global ? _global | bit : _global & ~bit;
        _next = (_next + 1) % Runs;
    }

    private bool Open(int window, in WindowUse use, int i, ulong linear)
    {
        ref var holder = ref HolderOf(window);
        ref var run = ref _runs[i];
        ref var w = ref _windows[window];
        var span = (ulong)use.Span;
        // One access that is aligned lies within the run with all its bytes if it does with one; others must not reach over its end.
        var natural = !holder.IsUnaligned && BitOperations.IsPow2(span) && span <= 64;
        if (natural && (linear & (span - 1)) != 0) (holder.IsUnaligned, natural) = (true, false);
        var size = 1UL << BitOperations.Log2(natural ? run.Length : run.Length - span + 1);
        var room = (natural ? run.Length : run.Length - span + 1) - size;
        var (start, large) = (holder.Start, holder.Size);
        var near = large != 0 && linear - (start - large) < large * 3;
        // Where addresses go on the way they went, most of the window is before them.
        var behind = !near || w.Negated == _nowhere ? size / 2 : linear > start ? size / 8 : size - size / 8;
        // The mask tests low bits too, so the start has none.
        var unit = natural ? 64UL : use.Alignment + 1UL;
        var at = linear - run.Start;
        var offset = (at < behind ? 0 : Math.Min(at - behind, room)) & ~(unit - 1);
        if (at - offset >= size) return false;
        holder.Patience = near && w.Negated != _nowhere ? (ushort)_patience : (ushort)Math.Min(Math.Max((int)holder.Patience, _patience) * 2, MostPatience);
        Unlink(window);
        (holder.Start, holder.Size) = (run.Start + offset, size);
        w.Addend = run.Addend;
        w.Mask = ~(size - 1) | use.Alignment | (natural ? span - 1 : 0);
        w.Negated = use.Constant is not null ? 0 : 0 - holder.Start;
        w.Left = holder.Patience;
        (holder.In, holder.Place) = (Lists.Run, i);
        Link(ref _first[i], window);
        return true;
    }

    private void Close(int window)
    {
        ref var w = ref _windows[window];
        (w.Negated, w.Mask) = (_nowhere, ulong.MaxValue);
    }

    private void CloseRun(int i)
    {
        _runs[i].Length = 0;
        _open &= ~(1UL << i);
        while (_first[i] >= 0)
        {
            CloseAt(_first[i]);
        }
    }

    private ref Holder HolderOf(int window)
    {
        if (window >= _holders.Length) Array.Resize(ref _holders, Math.Max(window + 1, Math.Max(64, _holders.Length * 2)));
        return ref _holders[window];
    }

    private void Link(ref int first, int window)
    {
        ref var holder = ref _holders[window];
        (holder.Previous, holder.Next) = (-1, first);
        if (first >= 0) _holders[first].Previous = window;
        first = window;
    }

    // From its run or its home, if it has one.
    private void Unlink(int window)
    {
        ref var holder = ref HolderOf(window);
        if (holder.In == Lists.None) return;
        if (holder.Previous >= 0) _holders[holder.Previous].Next = holder.Next;
        else if (holder.In == Lists.Run) _first[holder.Place] = holder.Next;
        else _homes[holder.Place] = holder.Next;
        if (holder.Next >= 0) _holders[holder.Next].Previous = holder.Previous;
        holder.In = Lists.None;
    }

    private enum Lists : byte
    {
        None,
        Run,
        Home,
    }

    // What became of a window, and where it is listed: with those that are open on a run, or that moved to pages of a hash.
    private struct Holder
    {
        public ulong Start, Size;
        public long Since;
        public int Place, Previous, Next;
        public ushort Patience;
        public byte Looks, Far;
        public bool IsUnaligned;
        public Lists In;
    }
}
