using Vmm.Backends.Software.Mmu;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>Where a hot block is entered: what must hold for its code is looked at there in one go.</summary>
internal sealed unsafe partial class BlockTranslator
{
    // All that must hold at the entry of a hot block is summed up in RCX, of which nothing may be left.
    private void EmitEntry(bool vectors, bool x87)
    {
        _t.Entry = _t.Body = _e.At;
        _e.Load32(Rcx, StateLayout.Events);
        if (_counted) EmitAlso(StateLayout.Budget + 4);
        if (vectors) EmitAlso(StateLayout.VectorDead);
        if (x87) EmitAlso(StateLayout.X87Dead);
        for (var g = 0; g < _plan.Count; g++)
        {
            if (_entryWindows[g] < 0) continue;
            EmitDifference(g, Linear);
            _e.Lea(Rcx, Rcx, Linear, 1, 0);
            _checked[g] = _barrier;
        }

        var zero = _e.IfZero();
        var outside = _e.Jump();
        _e.Bind(zero);
        var inside = _e.At;

        _e.Switch();
        _e.Land(outside);
        EmitEventUnlessZero(StateLayout.Events);
        if (_counted) EmitEventUnlessZero(StateLayout.Budget + 4);
        if (vectors) EmitLoad(StateLayout.VectorDead, _stubs.LoadVector, _t.Entry);
        if (x87) EmitLoad(StateLayout.X87Dead, _stubs.LoadX87, _t.Entry);

        var outsides = new List<(int Group, int Operand, int Next)>();
        for (var g = 0; g < _plan.Count; g++)
        {
            if (_entryWindows[g] < 0) continue;
            EmitDifference(g, Rcx);
            var next = _e.IfZero();
            var operand = _e.Jump();
            _e.Bind(next);
            outsides.Add((g, operand, _e.At));
        }

        // All have moved to where they are wanted.
        _e.Jump(inside);
        foreach (var (g, operand, next) in outsides)
        {
            _e.Land(operand);
            EmitEntryMove(g, next);
        }

        _e.Switch();
        (_e.AddendLost, _addendOf) = (true, -1);
    }

    // A group outside of its window: the window moves to its page if the TLB has that, and the next one is looked at; or C# is asked, and the block
    // runs once as it did before.
    private void EmitEntryMove(int g, int next)
    {
        var window = _entryWindows[g];
        ref readonly var group = ref _plan[g];
        var span = (int)(group.End - group.Low);
        EmitGroupAddress(g);
        EmitAsk(window, _stubs.Window, _plain!.Plain, _plain.Plain);
        // The stack's window may be for more, and for writes.
        var all = span;
        var write = group.Write | (AccessPlan.Parts(group.Key).First == Rsp && WindowTable.OfStack(_plain.View, ref all) == window);
        EmitIndex(Linear, new Site { Write = write }, span - 1);
        _e.Extract(Rcx, Rcx, StateLayout.PageMask);
        var hit = _e.IfZero();
        _e.Jump(_plain.Plain);
        _e.Bind(hit);
        EmitMove(window, write, all, group.Alignment - 1, IsConstant(group));
        if (!WindowTable.IsShared(window))
        {
            // It need not be where the address is not aligned.
            EmitDifference(g, Rcx);
            var there = _e.IfZero();
            _e.Jump(_plain.Plain);
            _e.Bind(there);
            _e.Jump(next);
            return;
        }

        // Another group may have had it elsewhere.
        _e.Jump(_plain.Plain);
    }

    private void EmitAlso(int place)
    {
        _e.Load32(Linear, place);
        _e.Lea(Rcx, Rcx, Linear, 1, 0);
    }

    // What a group's first address is outside of its window; zero if it is inside.
    private void EmitDifference(int g, int to)
    {
        var window = StateLayout.Window(_entryWindows[g]);
        var (first, index, scale) = AccessPlan.Parts(_plan[g].Key);
        _e.Load(to, window + StateLayout.WindowNegated);
        if (first < 0 && index < 0) return;
        var low = (int)_plan[g].Low;
        if (first >= 0)
        {
            _e.Lea(to, to, PartRegister(first), 1, low);
            low = 0;
        }

        if (index >= 0) _e.Lea(to, to, PartRegister(index), scale, low);
        _e.Extract(to, to, window + StateLayout.WindowMask);
    }

    // Whether a block is the first that needs what is loaded for instructions of a kind.
    private bool Wants(RelocatableKind kind, int first, int count, ref bool loaded)
    {
        if (loaded || !_kinds.AsSpan(first, count).Contains(kind)) return false;
        return loaded = true;
    }

    // Registers that are not yet in the host's go there; then it goes on elsewhere, if that is said.
    private void EmitLoad(int dead, int stub, int next = -1)
    {
        _e.Load32(Rcx, dead);
        var live = _e.IfZero();
        _e.Constant(Rcx, (uint)_sites.Add(new Site { Translation = _t }));
        _e.Call(stub);
        if (next >= 0) _e.Jump(next);
        _e.AddendLost = true;
        _e.Forget();
        _e.Bind(live);
    }
}
