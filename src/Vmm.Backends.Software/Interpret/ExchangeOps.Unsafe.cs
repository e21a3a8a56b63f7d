using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class ExchangeOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        var memory = instruction.OpCount > 0 && instruction.Op0Kind == OpKind.Memory;
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Xchg or Mnemonic.Xadd or Mnemonic.Cmpxchg:
                if (instruction.Mnemonic == Mnemonic.Xchg)
                {
                    // XCHG with memory locks without being told to; the memory operand may come first or second.
                    memory |= instruction.Op1Kind == OpKind.Memory;
                    if (memory) op.Flags |= OpFlags.Lock;
                }

                op.Handler = op.Size switch
                {
                    1 => Choose<Word8>(instruction.Mnemonic, memory),
                    2 => Choose<Word16>(instruction.Mnemonic, memory),
                    4 => Choose<Word32>(instruction.Mnemonic, memory),
                    _ => Choose<Word64>(instruction.Mnemonic, memory),
                };
                return true;
            case Mnemonic.Cmpxchg8b:
                op.Handler = (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareWide8;
                return true;
            case Mnemonic.Cmpxchg16b:
                op.Handler = (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareWide16;
                return true;
            default:
                return false;
        }
    }

    private static nint Choose<T>(Mnemonic mnemonic, bool memory) where T : unmanaged => (mnemonic, memory) switch
    {
        (Mnemonic.Xchg, false) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&XchgReg<T>,
        (Mnemonic.Xchg, true) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&XchgMem<T>,
        (Mnemonic.Xadd, false) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&XaddReg<T>,
        (Mnemonic.Xadd, true) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&XaddMem<T>,
        (_, false) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareReg<T>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareMem<T>,
    };
}
