using Iced.Intel;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Interpret;

namespace Vmm.Backends.Software.Translate;

/// <summary>Which blocks are translated as one.</summary>
internal sealed unsafe partial class BlockTranslator
{
    // The block that is done next, in the same page and warm: behind a branch that is not taken, or, in hot code, where it leads. Null if there is none.
    private Block* Follow(int index, Block* block, BlockCache blocks, out ulong target)
    {
        ref var last = ref _instructions[index];
        target = last.NextIP;
        if (last.Code is Code.Jmp_rel8_64 or Code.Jmp_rel32_64)
        {
            target = last.NearBranchTarget;
            return At(target, last.NextIP);
        }

        if (!LeavesOpen(block)) return null;
        if (last.FlowControl == FlowControl.Next) return block->Count == BlockBuilder.MaximumCount && _kinds[index] is not (RelocatableKind.No or RelocatableKind.System) ? At(target, target) : null;
        if (last.ConditionCode == ConditionCode.None) return null;
        // A hot loop is translated several rounds at a time.
        var back = IsHot && last.NearBranchTarget == _translations[0].Rip;
        var next = back ? null : At(target, target);
        if (next != null || !IsHot || last.Op0Kind != OpKind.NearBranch64 || last.Mnemonic is Mnemonic.Loope or Mnemonic.Loopne) return next;
        target = last.NearBranchTarget;
        return At(target, last.NextIP);

        Block* At(ulong rip, ulong least)
        {
            if (IsHot && rip == _translations[0].Rip && _translations[0].Block->Second == 0) return _translations[0].Block;
            if (_parts >= MaximumStraightParts && !(IsHot && IsPart(rip))) return null;
            // Backward jumps look for events.
            if (rip < least || (rip ^ _translations[0].Rip) >> 12 != 0) return null;
            var found = blocks.Find((block->Physical & ~0xFFFUL) | (rip & 0xFFF), block->Mode);
            return found != null && found->Heat > Warm && found->Second == 0 ? blocks.Keep(found) : null;
        }
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
