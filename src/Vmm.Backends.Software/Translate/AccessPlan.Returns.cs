namespace Vmm.Backends.Software.Translate;

/// <summary>Where the returns in a run of instructions lead: to behind the calls in it, unless what these pushed is overwritten.</summary>
internal sealed partial class AccessPlan
{
    // Return addresses on the stack: the name of RSP's value and the offset where they are.
    private readonly List<Pushed> _returns = [];

    /// <summary>Where the last return leads, if its call is known.</summary>
    public ulong? Return { get; private set; }

    /// <summary>Where the last return found its address, in bytes from what RSP held when the plan began; null if that is not known.</summary>
    public long? ReturnPlace { get; private set; }

    private void NoteCall(ulong next) => _returns.Add(new Pushed(_value[RegisterMap.Rsp], _offset[RegisterMap.Rsp], next, true));

    // Whether what the call pushed is there for certain.
    private bool NoteReturn()
    {
        var (value, offset) = (_value[RegisterMap.Rsp], _offset[RegisterMap.Rsp]);
        var at = _returns.FindLastIndex(p => p.Value == value && p.Offset == offset);
        Return = at < 0 ? null : _returns[at].Next;
        ReturnPlace = _entered && value == StackKey ? (long)offset : null;
        return at >= 0 && _returns[at].Certain;
    }

    // A write forgets what it overwrites, and casts doubt on what it may.
    private void NoteWrite(long key, ulong offset, int size)
    {
        for (var i = _returns.Count - 1; i >= 0; i--)
        {
            var pushed = _returns[i];
            if (pushed.Value != key) _returns[i] = pushed with { Certain = false };
            else if (offset - pushed.Offset < 8 || pushed.Offset - offset < (ulong)size) _returns.RemoveAt(i);
        }
    }

    private void DoubtReturns()
    {
        for (var i = 0; i < _returns.Count; i++) _returns[i] = _returns[i] with { Certain = false };
    }

    /// <summary>The return address of a call.</summary>
    /// <param name="Value">The name of RSP's value.</param>
    /// <param name="Offset">What RSP is beyond it.</param>
    /// <param name="Next">The address.</param>
    /// <param name="Certain">Nothing can have overwritten it.</param>
    private readonly record struct Pushed(long Value, ulong Offset, ulong Next, bool Certain);
}
