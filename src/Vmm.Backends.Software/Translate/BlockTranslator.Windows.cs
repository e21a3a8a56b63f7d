using Iced.Intel;
using Vmm.Backends.Software.Mmu;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Hot code. A block that has run often is translated once more, with windows instead of looks at the TLB. Those of all groups whose addresses
/// are known at its start are tested there in one go, together with what else must hold; if anything fails, the block's first translation, which
/// takes nothing for granted, runs in its place.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    // The windows of groups that are checked at the entry; -1 for others.
    private readonly int[] _entryWindows = new int[MaximumInstructions * 2];
    private readonly List<WindowMiss> _windowMisses = [];

    // By window: the first translation of the block that it is in, and the access it is for; the region of the code, or -1 if it is all code's.
    private readonly List<(Translation Plain, int Access, int Region)> _owners = [];

    // The first translation of the block, while it is translated as hot; else null.
    private Translation? _plain;

    private bool IsHot => _plain is not null;

    // Counts a run, and leaves for the last one.
    private void EmitCountdown(int promote)
    {
        var number = _sites.Number(_t) % Cpu.VcpuMemory.Runs;
        _counts(_t);
        _t.Since = Translator.Now;
        var place = Cpu.VcpuMemory.RunsOffset + number * sizeof(int);
        _e.Load32(Rcx, place);
        _e.Lea(Rcx, Rcx, -1, 1, -1, wide: false);
        _e.Store32(place, Rcx);
        _e.IfZero(promote);
        _t.Plain = _e.At;
    }

    // Whether there is anything that windows are for, or a loop, which looks for events once in several rounds.
    private bool WantsHeat()
    {
        if (IsHot || _plan.HasAccesses) return !IsHot;
        // SAFETY: blocks of translations live as long as these.
        for (var (part, last) = (0, -1); part < _parts; part++)
        {
            last += _translations[part].Block->Count;
            if (_instructions[last].ConditionCode != ConditionCode.None && _instructions[last].Op0Kind == OpKind.NearBranch64 && _instructions[last].NearBranchTarget == _t.Rip) return true;
        }

        return false;
    }

    private void PlanWindows()
    {
        for (var g = 0; g < _plan.Count; g++)
        {
            ref readonly var group = ref _plan[g];
            _entryWindows[g] = -1;
            if (!group.AtEntry) continue;
            var constant = IsConstant(group) ? group.Low : (ulong?)null;
            if (constant is { } address && (address & ((ulong)group.Alignment - 1)) != 0) continue;
            if (group.Alignment == 1 && AccessPlan.Parts(group.Key) is { First: Rsp, Index: < 0 })
            {
                var span = (int)(group.End - group.Low);
                _entryWindows[g] = WindowTable.OfStack(_translations[0].View, ref span);
                if (_entryWindows[g] >= 0) continue;
            }

            _entryWindows[g] = AddWindow(group.Leader, group.Write, (int)(group.End - group.Low), group.Alignment - 1, constant);
        }
    }

    private static bool IsConstant(in AccessPlan.Group group) => AccessPlan.Parts(group.Key) is { First: < 0, Index: < 0 };

    private int AddWindow(int access, bool write, int span, int alignment, ulong? constant)
    {
        var window = _windows.Add(new WindowUse((byte)_plain!.View, write, (ushort)span, (byte)alignment, constant));
        if (window < 0) return window;
        while (_owners.Count <= window) _owners.Add((_plain, -1, -1));
        _owners[window] = (_plain, access, _sites.Region);
        return window;
    }

    /// <summary>The block that a window is in, in its first translation, and the access it is for.</summary>
    public (Translation Plain, int Access) OwnerOf(int window) => (_owners[window].Plain, _owners[window].Access);

    /// <summary>The code of a region goes, and its windows, which are closed, with it.</summary>
    public void FreeWindows(int region)
    {
        for (var window = 0; window < _owners.Count; window++)
        {
            var owner = _owners[window];
            if (owner.Region != region) continue;
            _owners[window] = owner with { Region = -1 };
            _windows.Free(window);
        }
    }

    /// <summary>All code goes, and all windows.</summary>
    public void ForgetWindows()
    {
        _owners.Clear();
        _windows.Clear();
    }

    // Counts, and asks C# when the count is used up. Goes on if the window moves by itself.
    private void EmitAsk(int window, int stub, int afterwards, int otherwise)
    {
        var left = StateLayout.Window(window) + StateLayout.WindowLeft;
        _e.Load32(Rcx, left);
        _e.Lea(Rcx, Rcx, -1, 1, -1, wide: false);
        _e.Store32(left, Rcx);
        var ask = _e.IfZero();
        _e.Load32(Rcx, StateLayout.Window(window) + StateLayout.WindowMoves);
        var stays = _e.IfZero();
        var moves = _e.Jump();
        _e.Bind(ask);
        _e.Constant(Rcx, (uint)window);
        _e.Call(stub);
        _e.Jump(afterwards);
        _e.Bind(stays);
        _e.Jump(otherwise);
        _e.Land(moves);
    }

    // Moves a window to where the TLB has just been found to have the address in R14, whose addend is in R15.
    private void EmitMove(int window, bool write, int span, int alignment, bool isConstant)
    {
        var place = StateLayout.Window(window);
        _e.Store(place + StateLayout.WindowAddend, Addend);
        if (isConstant)
        {
            _e.StoreConstant(place + StateLayout.WindowNegated, 0);
            EmitList(window);
            return;
        }

        _e.Extract(Rcx, Linear, StateLayout.IndexMask);
        _e.LoadIndexed(Rcx, StateLayout.TlbTags(_plain!.View, write));
        _e.Store(place + StateLayout.WindowNegated, Rcx);
        if (alignment == span - 1)
        {
            // One access that is aligned does not lie across a page end.
            _e.StoreConstant(place + StateLayout.WindowMask, ~0xFFF | alignment);
        }
        else
        {
            // Half a page, which begins so early that what begins in it ends in the page.
            _e.StoreConstant(place + StateLayout.WindowMask, ~0x7FF | alignment);
            _e.Extract(Rcx, Linear, StateLayout.HalfMask);
            var lower = _e.IfZero();
            _e.Load(Rcx, place + StateLayout.WindowNegated);
            _e.Lea(Rcx, Rcx, -1, 1, (span - 1 + alignment & ~alignment) - 2048);
            _e.Store(place + StateLayout.WindowNegated, Rcx);
            _e.Bind(lower);
        }

        EmitList(window);
    }

    // So that it can be closed.
    private void EmitList(int window)
    {
        var place = StateLayout.Window(window);
        _e.Load32(Rcx, place + StateLayout.WindowUnlisted);
        var listed = _e.IfZero();
        _e.Load(Rcx, StateLayout.MovedWindows);
        _e.Lea(Rcx, Rcx, -1, 1, 1);
        _e.Store(StateLayout.MovedWindows, Rcx);
        _e.StoreIndexed(StateLayout.MovedWindows, window);
        _e.StoreConstant32(place + StateLayout.WindowUnlisted, 0);
        _e.Bind(listed);
    }

    // A group's first address into R14.
    private void EmitGroupAddress(int g)
    {
        var (first, index, scale) = AccessPlan.Parts(_plan[g].Key);
        if (first < 0 && index < 0)
        {
            _e.Constant(Linear, _plan[g].Low);
            return;
        }

        var low = (int)_plan[g].Low;
        if (first >= 0)
        {
            _e.Lea(Linear, PartRegister(first), -1, 1, low);
            if (index >= 0) _e.Lea(Linear, Linear, PartRegister(index), scale, 0);
        }
        else
        {
            _e.Lea(Linear, -1, PartRegister(index), scale, low);
        }
    }

    // The host register of a part of an address, loaded into R15 if it is in the state.
    private int PartRegister(int part)
    {
        if (part < 16) return Resident(part, Addend);
        _e.Load(Addend, StateLayout.SegmentBase(part == AccessPlan.FsBase ? 4 : 5));
        return Addend;
    }

    // Pushes a constant without touching R15, where that was checked at the entry.
    private bool TryEmitCheckedPush(ulong value, int ordinal)
    {
        var access = _plan.Of(_first + _index, ordinal);
        if (!IsHot || access.Group < 0 || !_plan[access.Group].AtEntry || _checked[access.Group] != _barrier) return false;
        _e.Load(Rcx, StateLayout.Window(_entryWindows[access.Group]) + StateLayout.WindowAddend);
        if ((ulong)(int)value == value)
        {
            _e.Indexed(true, 0xC7, 0, s_stack, Rcx, 1, -8);
            _e.Int((int)value);
        }
        else
        {
            _e.Constant(Linear, value);
            _e.Indexed(true, 0x89, Linear, s_stack, Rcx, 1, -8);
        }

        _e.Lea(s_stack, s_stack, -1, 1, -8);
        return true;
    }

    // An access of its own, or the first of a group that is known only in mid-block. False: there is no window for it.
    private bool TryEmitWindow(int first, long displacement, in Site site, int span, int before)
    {
        if (!IsHot || first < 0 || _plain!.Unsteady?.Contains(_access) == true) return false;
        var alignment = Relocatable.IsLocked(_instructions[_first + _index]) ? span - 1 : site.Alignment;
        var all = span;
        var window = first == s_stack && alignment == 0 ? WindowTable.OfStack(_t.View, ref all) : -1;
        var shared = window >= 0;
        if (!shared) window = AddWindow(_access, site.Write, span, alignment, null);
        if (window < 0) return false;
        var low = (int)(displacement - before);
        (_base, _displacement) = (first, (int)displacement);
        if (first == Linear && low != 0)
        {
            _e.Lea(Linear, Linear, -1, 1, low);
            (_displacement, low) = (before, 0);
        }

        var place = StateLayout.Window(window);
        _e.Load(Rcx, place + StateLayout.WindowNegated);
        _e.Lea(Rcx, Rcx, first, 1, low);
        _e.Extract(Rcx, Rcx, place + StateLayout.WindowMask);
        var inside = _e.IfZero();
        var outside = _e.Jump();
        _e.Bind(inside);
        _e.Load(Addend, place + StateLayout.WindowAddend);
        _windowMisses.Add(new WindowMiss(outside, _e.At, window, first, low, _sites.Add(site), site, span, shared ? all : 0, alignment, _t, _index));
        return true;
    }

    // Outside of a window the TLB is asked; now and then C#, to open it there.
    private void EmitWindowMiss(in WindowMiss miss)
    {
        _e.Land(miss.Operand);
        var register = miss.Register;
        if (miss.Low != 0)
        {
            _e.Lea(Linear, register, -1, 1, miss.Low);
            register = Linear;
        }

        var retry = _e.At;
        EmitIndex(register, miss.Site, miss.Site.Alignment == 0 ? miss.Span - 1 : 0);
        EmitPageTest(miss.Site);
        var hit = _e.IfZero();
        EmitFill(new Miss(miss.Back - 4, miss.Number, retry, register, 0, miss.Span > miss.Site.Size ? miss.Span : 0, miss.Site.Write, miss.Translation, miss.Index));
        _e.Bind(hit);
        if (miss.StackSpan > 0 && !miss.Site.Write)
        {
            // It moves with writes, or where a block begins.
            _e.Jump(miss.Back);
            return;
        }

        _e.Move(Linear, register);
        EmitAsk(miss.Window, _vectors ? _stubs.VectorWindow : _stubs.Window, retry, miss.Back);
        EmitMove(miss.Window, miss.Site.Write, Math.Max(miss.Span, miss.StackSpan), miss.Alignment, false);
        _e.Jump(miss.Back);
    }

    /// <summary>An address that is outside of its window, which is emitted apart.</summary>
    /// <param name="Operand">The jump's operand.</param>
    /// <param name="Back">Where the addend is expected in R15.</param>
    /// <param name="Window">The window.</param>
    /// <param name="Register">With <paramref name="Low"/>, the address.</param>
    /// <param name="Low">A displacement.</param>
    /// <param name="Number">The access's number.</param>
    /// <param name="Site">The access.</param>
    /// <param name="Span">Bytes that must lie in one page.</param>
    /// <param name="StackSpan">Bytes that the window is for, if it is one on the stack; else zero.</param>
    /// <param name="Alignment">Low bits of the address that must be zero for the window.</param>
    /// <param name="Translation">Where it is.</param>
    /// <param name="Index">The instruction.</param>
    private readonly record struct WindowMiss(int Operand, int Back, int Window, int Register, int Low, int Number, Site Site, int Span, int StackSpan, int Alignment, Translation Translation, int Index);
}
