using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class HintOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        op.Handler = instruction.Mnemonic switch
        {
            Mnemonic.Nop or Mnemonic.Reservednop or Mnemonic.Rdsspd or Mnemonic.Rdsspq or Mnemonic.Pause or Mnemonic.Endbr32 or Mnemonic.Endbr64 or Mnemonic.Lfence or Mnemonic.Sfence
                or Mnemonic.Prefetch or Mnemonic.Prefetchw or Mnemonic.Prefetchwt1 or Mnemonic.Prefetchnta or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1
                or Mnemonic.Prefetcht2 or Mnemonic.Cldemote => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Nothing,
            Mnemonic.Mfence => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Fence,
            Mnemonic.Clflush or Mnemonic.Clflushopt or Mnemonic.Clwb => (nint)(delegate*<Vcpu, ref Op, ref Op>)&CacheLine,
            Mnemonic.Bound => op.Size == 2 ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&Bound16 : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Bound32,
            Mnemonic.Rdrand or Mnemonic.Rdseed => op.Size switch
            {
                2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Random<ushort>,
                4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Random<uint>,
                _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Random<ulong>,
            },
            _ => 0,
        };
        return op.Handler != 0;
    }
}
