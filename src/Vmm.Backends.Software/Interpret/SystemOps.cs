using Iced.Intel;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Instruction group.</summary>
internal static class SystemOps
{
    /// <summary>Binds the group's instructions.</summary>
    public static bool TryBind(in Instruction instruction, uint mode, ref Op op) => false;
}
