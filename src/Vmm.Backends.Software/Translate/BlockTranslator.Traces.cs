using Iced.Intel;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Interpret;

namespace Vmm.Backends.Software.Translate;

/// <summary>Which blocks are translated as one, and what is kept of them.</summary>
internal sealed unsafe partial class BlockTranslator
{
    /// <summary>What is kept of a block from now on. Null if there is no room, or something else.</summary>
    public Block* Keep(Block* block)
    {
        if (block->Code == null) return block;
        var kept = block->Kept;
        if (kept == null || kept->IsStale) kept = _kept.Find(block->Physical, block->Mode);
        if (kept == null) kept = _kept.Add(block);
        if (kept == null || kept->Second != block->Second) return null;
        return block->Kept = kept;
    }

    // The block that is done next, in the same page and warm: behind a branch that is not taken, or, in hot code, where it leads, calls and returns
    // included. Hot code looks for events where it is entered, so it may lead anywhere. Null if there is none.
    private Block* Follow(int index, Block* block, BlockCache blocks, out ulong target)
    {
        ref var last = ref _instructions[index];
        target = last.NextIP;
        if (last.Code is Code.Jmp_rel8_64 or Code.Jmp_rel32_64)
        {
            target = last.NearBranchTarget;
            return At(target, IsHot ? 0 : last.NextIP);
        }

        if (!LeavesOpen(block)) return null;
        if (last.Code is Code.Call_rel32_64 or Code.Retnq or Code.Retnq_imm16)
        {
            if (!IsHot || block->Second != 0) return null;
            target = last.Code == Code.Call_rel32_64 ? last.NearBranchTarget : _plan.Return ?? Hint(_plan.ReturnPlace);
            return At(target, 0);
        }

        if (last.FlowControl == FlowControl.Next) return block->Count == BlockBuilder.MaximumCount && _kinds[index] is not (RelocatableKind.No or RelocatableKind.System) ? At(target, target) : null;
        if (last.ConditionCode == ConditionCode.None) return null;
        // A hot loop is translated several rounds at a time.
        var back = IsHot && last.NearBranchTarget == _translations[0].Rip;
        var next = back ? null : At(target, target);
        if (next != null || !IsHot || last.Op0Kind != OpKind.NearBranch64 || last.Mnemonic is Mnemonic.Loope or Mnemonic.Loopne) return next;
        target = last.NearBranchTarget;
        return At(target, 0);

        Block* At(ulong rip, ulong least)
        {
            if (IsHot && rip == _translations[0].Rip && _translations[0].Block->Second == 0) return _translations[0].Block;
            if (_parts >= (least == 0 ? MaximumParts : MaximumStraightParts) && !(IsHot && IsPart(rip))) return null;
            // Backward jumps look for events.
            if (rip < least || (rip ^ _translations[0].Rip) >> 12 != 0) return null;
            var physical = (block->Physical & ~0xFFFUL) | (rip & 0xFFF);
            var found = _kept.Find(physical, block->Mode);
            if (found == null) found = blocks.Find(physical, block->Mode);
            return found != null && (found->Heat > Warm || found->Translation != 0) && found->Second == 0 ? Keep(found) : null;
        }
    }

    // The stack of the guest as it was when the block to be translated was about to run.
    private readonly byte[] _stack = new byte[512];
    private int _stackBytes;

    // Where a return has led once, which may be where it leads again: zero if that is not known. What was on the stack when the block became hot is
    // kept, as it may be translated again when it is not running.
    private ulong Hint(long? place)
    {
        if (place is not { } at) return 0;
        if (at >= 0 && at <= _stackBytes - sizeof(ulong)) (_plain!.Hints ??= [])[at] = BitConverter.ToUInt64(_stack, (int)at);
        return _plain!.Hints?.GetValueOrDefault(at) ?? 0;
    }

    private bool IsPart(ulong rip)
    {
        foreach (var part in _translations.AsSpan(0, _parts))
        {
            if (part.Rip == rip) return true;
        }

        return false;
    }

    // Whether the translation of a block can go on behind it: the interpreter does not end it.
    private static bool LeavesOpen(Block* block)
    {
        // SAFETY: the block has Count ops, and one closing op behind them.
        ref var last = ref System.Runtime.CompilerServices.Unsafe.Add(ref BlockCache.First(block), block->Count - 1);
        ref var closing = ref System.Runtime.CompilerServices.Unsafe.Add(ref last, 1);
        return last.Handler != ControlOps.Undefined && closing.Handler != ControlOps.ShadowEnd;
    }
}
