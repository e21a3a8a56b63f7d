using Iced.Intel;
using Vmm.Backends.Software.Decode;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// x87 instructions run in the host's unit while all exceptions are masked. The pointers to the last instruction and operand, which
/// the host would give of its own code, are kept beside: what can leave finds them noted, and what cannot overwrites what was to be noted.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    // The address that is still to be noted.
    private ulong? _pointer;

    // What has been noted since a barrier: the selector of code, the segment of an operand (-1 for none) and the upper half of an address.
    private int _notedSince;
    private bool _notedCode;
    private int _notedSegment;
    private ulong? _notedUpper;

    private bool TryEmitX87(ref Instruction instruction, ref Op op)
    {
        var memory = instruction.Op0Kind == OpKind.Memory || (instruction.OpCount > 1 && instruction.Op1Kind == OpKind.Memory);
        if (memory && op.Address != AddressKind.Flat64) return false;
        var notes = Notes(instruction.Mnemonic);
        var rip = instruction.IP;
        if (!TryRelocate(ref instruction)) return false;
        if (!notes) return true;
        if (memory) EmitOperandPointer(op.Segment);
        _pointer = rip;
        return true;
    }

    // The operand that was just accessed.
    private void EmitOperandPointer(int segment)
    {
        if (_base < 0)
        {
            _e.StoreConstant(StateLayout.X87Dp, _displacement);
        }
        else if (_displacement == 0)
        {
            _e.Store(StateLayout.X87Dp, _base);
        }
        else
        {
            _e.Lea(Linear, _base, -1, 1, _displacement);
            _e.Store(StateLayout.X87Dp, Linear);
        }

        BeginNotes();
        if (_notedSegment == segment) return;
        _e.Load16(Rcx, StateLayout.Selector(segment));
        _e.Store16(StateLayout.X87Ds, Rcx);
        _notedSegment = segment;
    }

    // Notes what is still to be noted, if anything is.
    private void EmitPointer()
    {
        if (_pointer is not { } rip) return;
        _pointer = null;
        BeginNotes();
        if (_notedUpper == rip >> 32)
        {
            _e.StoreConstant32(StateLayout.X87Ip, (int)rip);
        }
        else if ((ulong)(int)rip == rip)
        {
            _e.StoreConstant(StateLayout.X87Ip, (int)rip);
        }
        else
        {
            _e.Constant(Rcx, rip);
            _e.Store(StateLayout.X87Ip, Rcx);
        }

        _notedUpper = rip >> 32;
        if (_notedCode) return;
        _e.Load16(Rcx, StateLayout.Selector(1));
        _e.Store16(StateLayout.X87Cs, Rcx);
        _notedCode = true;
    }

    // Selectors stay, and nobody else notes anything, up to the next barrier.
    private void BeginNotes()
    {
        if (_notedSince == _barrier) return;
        (_notedSince, _notedCode, _notedSegment, _notedUpper) = (_barrier, false, -1, null);
    }

    // Whether nothing can leave during an instruction, and the note does not come between it and a branch, which the host would do as one.
    private bool Stays(in Instruction instruction)
    {
        if (_kinds[_first + _index] is not (RelocatableKind.Nothing or RelocatableKind.Integer or RelocatableKind.Vector or RelocatableKind.X87)) return false;
        // SAFETY: a translation's block lives as long as it does.
        if (_index + 1 < _t.Block->Count && _kinds[_first + _index + 1] == RelocatableKind.Branch && _kinds[_first + _index] != RelocatableKind.X87) return false;
        for (var i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Memory) continue;
            if (!_grouped || (long)instruction.MemoryDisplacement64 is < int.MinValue / 2 or > int.MaxValue / 2) return false;
            var group = _plan.Of(_first + _index, 0).Group;
            return group >= 0 && _plan[group].AtEntry && _checked[group] == _barrier;
        }

        return true;
    }

    // Control instructions leave the pointers alone.
    private static bool Notes(Mnemonic mnemonic) => mnemonic is not (Mnemonic.Fnstsw or Mnemonic.Fnstcw or Mnemonic.Wait);
}
