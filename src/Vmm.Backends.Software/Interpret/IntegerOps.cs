using Iced.Intel;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>The integer instruction groups together; the commonest come first.</summary>
internal static class IntegerOps
{
    /// <summary>Binds the groups' instructions.</summary>
    public static bool TryBind(in Instruction instruction, uint mode, ref Op op) =>
        MoveOps.TryBind(instruction, ref op)
        || AluOps.TryBind(instruction, ref op)
        || StackOps.TryBind(instruction, ref op)
        || ShiftOps.TryBind(instruction, ref op)
        || MulDivOps.TryBind(instruction, ref op)
        || HintOps.TryBind(instruction, ref op)
        || BitOps.TryBind(instruction, ref op)
        || ExchangeOps.TryBind(instruction, ref op)
        || FlagOps.TryBind(instruction, ref op)
        || BmiOps.TryBind(instruction, ref op)
        || DecimalOps.TryBind(instruction, ref op);
}
