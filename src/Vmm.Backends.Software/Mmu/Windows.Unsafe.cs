using System.Diagnostics;
using System.Numerics;

namespace Vmm.Backends.Software.Mmu;

/// <summary>
/// The windows of one vCPU's hot code. Each belongs to one check in that code, and is open on part of a run of pages that are alike: a test
/// against it waits for no table, and finds what a TLB of pages would find for all of them. Windows change nothing that the guest sees: pages
/// are only taken whose accessed (and, for writes, dirty) bits are set, which hold no decoded code and are in no log of clean pages. They are
/// closed with the TLB entries of the same pages. Where runs are short, a window follows the TLB from page to page without C#; where it does that
/// too often to be of use, it is given up. Used by the processor's own thread.
/// </summary>
internal sealed unsafe partial class Windows
{
    /// <summary>The most there can be; later checks look at the TLB.</summary>
    public const int Count = 16 << 10;

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
    private Holder[] _holders = new Holder[64];
    // Those that no code uses any more.
    private readonly Stack<int> _free = [];
    private int _used;
    private int _next;

    /// <summary>Bytes of all windows; the list of those that moved by themselves follows, its length first.</summary>
    public static readonly int WindowsBytes = Count * sizeof(Window);

    /// <summary>Bytes of all.</summary>
    public static readonly int Bytes = WindowsBytes + (Count + 1) * sizeof(ulong);

    /// <param name="memory">Memory that outlives this.</param>
    public Windows(Cpu.VcpuMemory memory)
    {
        // SAFETY: the memory has room for Count windows and their list; numbers are those that Add gave.
        _windows = (Window*)memory.Windows;
        _moved = (ulong*)(memory.Windows + WindowsBytes);
    }

    /// <summary>Before there is code.</summary>
    /// <param name="patience">How often a new window's address is outside before it is opened; at least 2.</param>
    /// <param name="secret">Nothing that a guest could guess.</param>
    public void Begin(int patience, ulong secret)
    {
        _patience = patience;
        Array.Fill(_first, -1);
        Array.Fill(_homes, -1);
        // Minus an address that is not canonical in any paging mode. The difference to one that is lies between 2^59 and 2^60, so that those
        // of a dozen closed windows do not add up to zero.
        _nowhere = 0x0A00_0000_0000_0000UL + (secret >> 6);
        AddStacks();
    }

    /// <summary>The window on the stack of a privilege view, for up to so many bytes: all code shares it, as it moves for all when the stack is another.</summary>
    /// <param name="view">The set of the TLB.</param>
    /// <param name="span">Bytes; those that the window is for afterwards.</param>
    /// <returns>The window; -1 if there is none for as many.</returns>
    public static int OfStack(int view, ref int span)
    {
        for (var i = 0; i < StackSpans.Length; i++)
        {
            if (span > StackSpans[i]) continue;
            span = StackSpans[i];
            return view * StackSpans.Length + i;
        }

        return -1;
    }

    /// <summary>Whether a window is one on the stack.</summary>
    public static bool IsShared(int window) => window < StackSpans.Length * Tlb.Checked;

    private static ReadOnlySpan<ushort> StackSpans => [16, 64, 192, 512];

    private void AddStacks()
    {
        for (var view = 0; view < Tlb.Checked; view++)
        {
            foreach (var span in StackSpans) _windows[Add(view, true, span, 0, null)].Moves = 1;
        }
    }

    /// <summary>A new window, closed; -1 if there is no more room.</summary>
    /// <param name="view">The set of the TLB that the check stands for.</param>
    /// <param name="write">Whether it writes.</param>
    /// <param name="span">Bytes that it is about.</param>
    /// <param name="alignment">Low bits of the address that must be zero.</param>
    /// <param name="constant">Its address, if that is always the same.</param>
    public int Add(int view, bool write, int span, int alignment, ulong? constant)
    {
        if (!_free.TryPop(out var number))
        {
            if (_used == Count) return -1;
            if (_used == _holders.Length) Array.Resize(ref _holders, _used * 2);
            number = _used++;
        }

        _holders[number] = new Holder { View = (byte)view, Write = write, Span = (ushort)span, Alignment = (byte)alignment, IsConstant = constant is not null, Run = -1, Home = -1, Patience = (ushort)_patience };
        Close(number);
        ref var w = ref _windows[number];
        (w.Left, w.Moves, w.Unlisted, w.Array, w.Constant) = (_patience, 0, 1, view * 2 + (write ? 1 : 0), constant ?? 0);
        return number;
    }

    /// <summary>No code uses a window any more. All must be closed.</summary>
    public void Free(int window) => _free.Push(window);

    /// <summary>Forgets all windows; no code may use them any more.</summary>
    public void Clear()
    {
        CloseAll();
        _used = 0;
        _free.Clear();
        AddStacks();
    }

    /// <summary>What a window is for.</summary>
    public (int View, bool Write) this[int window] => (_holders[window].View, _holders[window].Write);

    /// <summary>Whether a window that moves by itself does so too often to be of use. It then no longer does.</summary>
    public bool MovesTooOften(int window, ulong linear)
    {
        ref var w = ref _windows[window];
        ref var holder = ref _holders[window];
        if (IsShared(window))
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

    /// <summary>Whether a window moves by itself.</summary>
    public bool Moves(int window) => _windows[window].Moves != 0;

    /// <summary>Lets a window follow the TLB.</summary>
    public void Release(int window)
    {
        ref var w = ref _windows[window];
        (w.Moves, w.Left, _holders[window].Since) = (1, MovesALook, Stopwatch.GetTimestamp());
    }

    /// <summary>Opens a window on a known run at an address. False if there is none.</summary>
    public bool TryOpen(int window, ulong linear)
    {
        ref var holder = ref _holders[window];
        for (var left = _open; left != 0; left &= left - 1)
        {
            var i = BitOperations.TrailingZeroCount(left);
            ref var run = ref _runs[i];
            var at = linear - run.Start;
            if (at < run.Length && run.Length >= ShortRun && run.Length - at >= holder.Span && run.View == holder.View && (run.Write || !holder.Write))
            {
                return (linear & holder.Alignment) == 0 && Open(window, ref holder, i, linear);
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

    private bool Open(int window, ref Holder holder, int i, ulong linear)
    {
        ref var run = ref _runs[i];
        ref var w = ref _windows[window];
        var span = (ulong)holder.Span;
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
        var unit = natural ? 64UL : holder.Alignment + 1UL;
        var at = linear - run.Start;
        var offset = (at < behind ? 0 : Math.Min(at - behind, room)) & ~(unit - 1);
        if (at - offset >= size) return false;
        holder.Patience = near && w.Negated != _nowhere ? (ushort)_patience : (ushort)Math.Min(holder.Patience * 2, MostPatience);
        Unlink(window);
        (holder.Start, holder.Size) = (run.Start + offset, size);
        w.Addend = run.Addend;
        w.Mask = ~(size - 1) | holder.Alignment | (natural ? span - 1 : 0);
        w.Negated = holder.IsConstant ? 0 : 0 - holder.Start;
        w.Left = holder.Patience;
        holder.Run = i;
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
        ref var holder = ref _holders[window];
        if (holder.Run < 0 && holder.Home < 0) return;
        if (holder.Previous >= 0) _holders[holder.Previous].Next = holder.Next;
        else if (holder.Run >= 0) _first[holder.Run] = holder.Next;
        else _homes[holder.Home] = holder.Next;
        if (holder.Next >= 0) _holders[holder.Next].Previous = holder.Previous;
        (holder.Run, holder.Home) = (-1, -1);
    }

    // The check that a window belongs to, and where it is open.
    private struct Holder
    {
        public ulong Start, Size;
        public long Since;
        public int Run, Home, Previous, Next;
        public ushort Span, Patience;
        public byte View, Alignment, Looks, Far;
        public bool Write, IsConstant, IsUnaligned;
    }
}
