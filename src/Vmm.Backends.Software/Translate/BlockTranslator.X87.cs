using Iced.Intel;
using Vmm.Backends.Software.Decode;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// x87 instructions run in the host's unit while all exceptions are masked. The pointers to the last instruction and operand, which
/// the host would give of its own code, are kept beside.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    private bool TryEmitX87(ref Instruction instruction, ref Op op)
    {
        var memory = instruction.Op0Kind == OpKind.Memory || (instruction.OpCount > 1 && instruction.Op1Kind == OpKind.Memory);
        if (memory && op.Address != AddressKind.Flat64) return false;
        var notes = Notes(instruction.Mnemonic);
        var rip = instruction.IP;
        if (!TryRelocate(ref instruction)) return false;
        if (!notes) return true;
        if (memory)
        {
            _e.Store(StateLayout.X87Dp, Linear);
            _e.Load16(Rcx, StateLayout.Selector(op.Segment));
            _e.Store16(StateLayout.X87Ds, Rcx);
        }

        if (NextNotes()) return true;
        _e.Constant(Rcx, rip);
        _e.Store(StateLayout.X87Ip, Rcx);
        _e.Load16(Rcx, StateLayout.Selector(1));
        _e.Store16(StateLayout.X87Cs, Rcx);
        return true;
    }

    // Whether the next instruction is noted as well, and cannot leave before it is.
    private bool NextNotes()
    {
        // SAFETY: a translation's block lives as long as it does.
        if (_index + 1 == _t.Block->Count || _kinds[_first + _index + 1] != RelocatableKind.X87) return false;
        ref var next = ref _instructions[_first + _index + 1];
        for (var i = 0; i < next.OpCount; i++)
        {
            if (next.GetOpKind(i) != OpKind.Register) return false;
        }

        return Notes(next.Mnemonic);
    }

    // Control instructions leave the pointers alone.
    private static bool Notes(Mnemonic mnemonic) => mnemonic is not (Mnemonic.Fnstsw or Mnemonic.Fnstcw or Mnemonic.Wait);
}
