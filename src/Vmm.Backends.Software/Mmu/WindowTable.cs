namespace Vmm.Backends.Software.Mmu;

/// <summary>
/// The windows of a machine's hot code: by number, as the code has them, what they are for. Where they are open is each processor's own (<see cref="Windows"/>).
/// Used under the translator's lock, but for <see cref="this"/>.
/// </summary>
internal sealed class WindowTable
{
    /// <summary>The most there can be; later checks look at the TLB.</summary>
    public const int Count = 16 << 10;

    private readonly List<Windows> _all = [];
    // Those that no code uses any more.
    private readonly Stack<int> _free = [];
    private WindowUse[] _uses = new WindowUse[64];
    private int _used;

    public WindowTable() => AddStacks();

    /// <summary>What a window is for. Any thread that has its number from code.</summary>
    public ref readonly WindowUse this[int window] => ref _uses[window];

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

    /// <summary>A processor is about to run the machine's code: windows are closed for it, and so will be those to come.</summary>
    public void Attach(Windows windows)
    {
        _all.Add(windows);
        for (var window = 0; window < _used; window++) windows.Prepare(window, _uses[window], IsShared(window));
    }

    /// <summary>A new window, closed for all processors; -1 if there is no more room.</summary>
    public int Add(in WindowUse use)
    {
        if (!_free.TryPop(out var window))
        {
            if (_used == Count) return -1;
            if (_used == _uses.Length) Array.Resize(ref _uses, _used * 2);
            window = _used++;
        }

        _uses[window] = use;
        foreach (var windows in _all) windows.Prepare(window, use, IsShared(window));
        return window;
    }

    /// <summary>No code uses a window any more, and all processors have closed it.</summary>
    public void Free(int window) => _free.Push(window);

    /// <summary>Forgets all windows but those on the stack; no code may use them any more, and all processors have closed them.</summary>
    public void Clear()
    {
        _free.Clear();
        _used = StackSpans.Length * Tlb.Checked;
    }

    private static ReadOnlySpan<ushort> StackSpans => [16, 64, 192, 512];

    private void AddStacks()
    {
        for (var view = 0; view < Tlb.Checked; view++)
        {
            foreach (var span in StackSpans) Add(new WindowUse((byte)view, true, span, 0, null));
        }
    }
}
