using Iced.Intel;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Finds the handler of an instruction: each group is asked in turn and binds what it knows.</summary>
internal static class Binder
{
    /// <summary>Sets <see cref="Op.Handler"/> (and what else the handler wants in the op). False: no such instruction.</summary>
    public static bool TryBind(in Instruction instruction, uint mode, ref Op op) =>
        ControlOps.TryBind(instruction, mode, ref op)
        || IntegerOps.TryBind(instruction, mode, ref op)
        || StringOps.TryBind(instruction, mode, ref op)
        || SystemOps.TryBind(instruction, mode, ref op)
        || XsaveOps.TryBind(instruction, ref op)
        || VectorOps.TryBind(instruction, mode, ref op)
        || X87Ops.TryBind(instruction, mode, ref op);
}
