using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>Ends of blocks: direct branches are linked, indirect ones find their target in the cache of targets.</summary>
internal sealed unsafe partial class BlockTranslator
{
    private bool EmitBranch(in Instruction instruction)
    {
        switch (instruction.Code)
        {
            case Code.Jmp_rel8_64 or Code.Jmp_rel32_64 when IsCanonical(instruction.NearBranchTarget):
                EmitNext(instruction.NearBranchTarget);
                return false;
            case Code.Call_rel32_64 when IsCanonical(instruction.NearBranchTarget):
                EmitStack(-8, true);
                EmitStoreFoundConstant(_next);
                _e.Lea(s_stack, s_stack, -1, 1, -8);
                EmitNext(instruction.NearBranchTarget);
                return false;
            case Code.Jmp_rm64:
                EmitTarget(instruction);
                EmitFindTarget();
                _e.JumpTo(R15);
                return false;
            case Code.Call_rm64:
                EmitTarget(instruction);
                EmitFindTarget();
                if (TryEmitCheckedPush(_next, instruction.Op0Kind == OpKind.Memory ? 1 : 0))
                {
                    _e.JumpTo(R15);
                    return false;
                }

                _e.Store(StateLayout.Scratch0, R15);
                EmitStack(-8, true, instruction.Op0Kind == OpKind.Memory ? 1 : 0);
                EmitStoreFoundConstant(_next);
                _e.Lea(s_stack, s_stack, -1, 1, -8);
                _e.JumpPlace(StateLayout.Scratch0);
                return false;
            case Code.Retnq or Code.Retnq_imm16:
                EmitReturn(8 + (instruction.Code == Code.Retnq ? 0 : instruction.Immediate16));
                return false;
        }

        if (instruction.FlowControl == FlowControl.ConditionalBranch && instruction.ConditionCode != ConditionCode.None && instruction.Op0Kind == OpKind.NearBranch64
            && instruction.Mnemonic is not (Mnemonic.Loope or Mnemonic.Loopne or Mnemonic.Loop) && IsCanonical(instruction.NearBranchTarget))
        {
            EmitConditional(instruction);
            return false;
        }

        return EmitInterpret();
    }

    // Where the block follows that the return leads to, or led to once, it is compared with that.
    private void EmitReturn(int bytes)
    {
        var follows = _part + 1 < _parts;
        var group = _plan.Of(_first + _index, 0).Group;
        if (follows && _single && _plan.Of(_first + _index, 0).IsCertain && _plan[group].AtEntry && _checked[group] == _barrier)
        {
            // What the call pushed is still there.
            _e.Lea(s_stack, s_stack, -1, 1, bytes);
            return;
        }

        EmitStack(0, false);
        EmitLoadFound(Linear);
        if (follows)
        {
            EmitDistance(_translations[_part + 1].Rip);
            var hit = _e.IfZero();
            var miss = _e.Jump();
            _e.Bind(hit);
            _e.Lea(s_stack, s_stack, -1, 1, bytes);
            _e.Switch();
            _e.Land(miss);
        }

        var lost = _e.AddendLost;
        EmitFindTarget();
        _e.Lea(s_stack, s_stack, -1, 1, bytes);
        _e.JumpTo(R15);
        if (!follows) return;
        _e.Switch();
        _e.AddendLost = lost;
    }

    // What the address in R14 is beyond a constant, into RCX.
    private void EmitDistance(ulong from)
    {
        if ((ulong)(int)(0 - from) == 0 - from)
        {
            _e.Lea(Rcx, Linear, -1, 1, (int)(0 - from));
            return;
        }

        _e.Constant(Rcx, 0 - from);
        _e.Lea(Rcx, Rcx, Linear, 1, 0);
    }

    private void EmitConditional(in Instruction instruction)
    {
        var target = instruction.NearBranchTarget;
        var condition = Interpret.ControlOps.Condition(instruction.ConditionCode);
        if (_part + 1 < _parts && _translations[_part + 1].Rip == target && target != _next)
        {
            // The block that the branch leads to follows.
            EmitBranchIf(condition ^ 1, _next);
            return;
        }

        EmitBranchIf(condition, target);
        EmitNext(_next);
    }

    private void EmitBranchIf(int condition, ulong target)
    {
        if (Links(target))
        {
            _e.AlignOperand(2);
            AddLink(_e.JumpIf(condition), target);
        }
        else
        {
            var taken = _e.JumpIf(condition);
            _e.Switch();
            _e.Land(taken);
            EmitLink(target);
            _e.Switch();
        }
    }

    /// <summary>
    /// Goes on at a constant address. In the page of this block (which is as mapped as the block itself) by a jump that is patched
    /// once the target is translated, and so from one place of a kernel to another if the target's page turns out to be global; elsewhere
    /// through the target cache, whose entry says that the page is still mapped so.
    /// </summary>
    private void EmitLink(ulong target) => EmitLink(target, _t.View);

    // The block that goes on at an address follows, if there is one.
    private void EmitNext(ulong target)
    {
        if (_part + 1 == _parts) EmitLink(target);
    }

    private void EmitLink(ulong target, int view)
    {
        if (Links(target) && view == _t.View)
        {
            _e.AlignOperand(1);
            AddLink(_e.Jump(), target);
            return;
        }

        EmitLookup(target, view, IsBackward(target));
    }

    // By the cache of targets; a backward branch looks for events here.
    private void EmitLookup(ulong target, int view, bool backward)
    {
        var site = AddSite(target, 0, backward);
        if (backward && target + Vcpu.EventLimit <= Vcpu.EventLimit)
        {
            // With an empty entry the sum below could be zero.
            _exits.Add((_e.Jump(), site, _stubs.Link));
            return;
        }

        var place = TargetCache.KeyOffset(view, TargetCache.Slot(target));
        var retry = _e.At;
        _e.Load(R15, place);
        if ((ulong)(int)target == target)
        {
            _e.Lea(Rcx, R15, -1, 1, (int)target);
        }
        else
        {
            _e.Constant(Rcx, target);
            _e.Lea(Rcx, Rcx, R15, 1, 0);
        }

        if (backward && !_counted)
        {
            // No two addresses as near each other as events are small share an entry: the sum is zero if both are.
            _e.Load32(R15, StateLayout.Events);
            _e.Lea(Rcx, Rcx, R15, 1, 0);
        }

        var hit = _e.IfZero();
        _finds.Add(new Find(_e.Jump(), site, _stubs.Behind.Direct(view), retry, target));
        _e.Bind(hit);
        _e.JumpPlace(place + 8);
    }

    private void AddLink(int operand, ulong target) => _exits.Add((operand, AddSite(target, operand, IsBackward(target)), _stubs.Link));

    private int AddSite(ulong target, int patch, bool backward) => _sites.Add(new Site { Translation = _t, Index = _index, Target = target, Patch = patch, Backward = backward });

    // By the shorter way around the address space: none leads over what is not canonical, so no loop goes forward only. A site says more if
    // it is backward or has a target.
    private bool IsBackward(ulong target) => (long)(target - _next) < 0 || target == 0;

    // The target of an indirect branch into R14.
    private void EmitTarget(in Instruction instruction)
    {
        if (instruction.Op0Kind == OpKind.Register)
        {
            var host = Resident(Number(instruction.Op0Register), Linear);
            _e.Move(Linear, host);
            return;
        }

        EmitOperand(instruction, 8, false);
        EmitLoadFound(Linear);
    }

    // The target in R14 must be known, or the interpreter does the branch. Leaves its code in R15.
    private void EmitFindTarget() => EmitFindTarget(_t.View);

    private void EmitFindTarget(int view)
    {
        var retry = _e.At;
        _e.RotateRight(Rcx, Linear, TargetCache.HashRotation);
        _e.Lea(Rcx, Rcx, Linear, 1, 0);
        _e.Deposit(Rcx, Rcx, StateLayout.TargetMask);
        _e.LoadIndexed(R15, TargetCache.KeyOffset(view, 0) + 8);
        _e.LoadIndexed(Rcx, TargetCache.KeyOffset(view, 0));
        _e.Lea(Rcx, Rcx, Linear, 1, 0);
        var hit = _e.IfZero();
        _finds.Add(new Find(_e.Jump(), _sites.Add(new Site { Translation = _t, Index = _index }), _stubs.Behind.Indirect(view), retry, null));
        _e.Bind(hit);
    }

    // Not an instruction that may go on in the next page, which may be mapped otherwise.
    private bool Links(ulong target) =>
        ((target ^ _t.Rip) >> 12 == 0 || (_t.View != Mmu.Tlb.User && (long)target < 0 && (long)_t.Rip < 0)) && (target & 0xFFF) <= 4096 - 15;

    // Direct branches near the edge of the canonical range are left to the interpreter, which knows the paging mode.
    private static bool IsCanonical(ulong target) => (ulong)((long)(target << 16) >> 16) == target;

    /// <summary>A look into the cache of targets, whose miss is emitted apart.</summary>
    /// <param name="Operand">The jump's operand.</param>
    /// <param name="Site">The branch.</param>
    /// <param name="Stub">Looks behind the cache.</param>
    /// <param name="Retry">Where it is tried again.</param>
    /// <param name="Target">The target of a direct branch; null for others, which have theirs in R14.</param>
    private readonly record struct Find(int Operand, int Site, int Stub, int Retry, ulong? Target);
}
