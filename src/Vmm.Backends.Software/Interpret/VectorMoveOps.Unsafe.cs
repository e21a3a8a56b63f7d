using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;
using static Vmm.Backends.Software.Interpret.VectorHandlers;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class VectorMoveOps
{
    // SAFETY: function pointers to static methods, and the unused out pointer of TryRun; nothing is dereferenced in this file.

    /// <summary>The handler, or 0.</summary>
    public static nint Choose(in Instruction i, uint mode, ref Op op)
    {
        var vex = IsVex(i);
        switch (i.Mnemonic)
        {
            case Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu or Mnemonic.Vmovups or Mnemonic.Vmovupd or Mnemonic.Vmovdqu or Mnemonic.Vlddqu:
                return Move(i, false);
            case Mnemonic.Movaps or Mnemonic.Movapd or Mnemonic.Movdqa or Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqa
                or Mnemonic.Movntps or Mnemonic.Movntpd or Mnemonic.Movntdq or Mnemonic.Movntdqa or Mnemonic.Vmovntps or Mnemonic.Vmovntpd
                or Mnemonic.Vmovntdq or Mnemonic.Vmovntdqa:
                return Move(i, true);
            case Mnemonic.Movss or Mnemonic.Vmovss: return Scalar<uint>(i, ref op);
            case Mnemonic.Movsd or Mnemonic.Vmovsd: return Scalar<ulong>(i, ref op);
            case Mnemonic.Movd or Mnemonic.Vmovd: return General<uint>(i);
            case Mnemonic.Movq or Mnemonic.Vmovq:
                if (i.Op0Kind == OpKind.Register && i.Op1Kind == OpKind.Register && i.Op0Register.IsXMM() && i.Op1Register.IsXMM())
                {
                    return vex ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveQword<Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveQword<Legacy>;
                }

                return General<ulong>(i);
            case Mnemonic.Movlps or Mnemonic.Movlpd or Mnemonic.Vmovlps or Mnemonic.Vmovlpd:
                if (i.Op0Kind == OpKind.Memory) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreScalar<ulong>;
                Normalise(i, ref op);
                return vex ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadLow<Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadLow<Legacy>;
            case Mnemonic.Movhps or Mnemonic.Movhpd or Mnemonic.Vmovhps or Mnemonic.Vmovhpd:
                if (i.Op0Kind == OpKind.Memory) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreHigh;
                Normalise(i, ref op);
                return vex ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadHigh<Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadHigh<Legacy>;
            case Mnemonic.Vzeroupper: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ZeroUpper;
            case Mnemonic.Vzeroall: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ZeroAll;
            case Mnemonic.Vmaskmovps or Mnemonic.Vpmaskmovd: return Masked<uint>(i);
            case Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovq: return Masked<ulong>(i);
            case Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu:
                BindDestinationIndex(i, mode, ref op);
                return (nint)(delegate*<Vcpu, ref Op, ref Op>)&MaskedStoreBytes;
            default: return 0;
        }
    }

    /// <summary>Makes the implicit operand segment:rDI of a masked store (also MASKMOVQ's) an explicit one.</summary>
    public static void BindDestinationIndex(in Instruction i, uint mode, ref Op op)
    {
        op.Base = 7 * 8;
        op.Index = Vcpu.ZeroSlot;
        op.Disp = 0;
        op.Scale = 0;
        var segment = i.SegmentPrefix == Register.None ? Register.DS : i.SegmentPrefix;
        op.Segment = OperandDecoder.Number(segment);
        var wide = i.Op0Kind switch { OpKind.MemorySegDI => 2, OpKind.MemorySegEDI => 4, _ => 8 };
        if ((mode & CpuMode.CodeMask) == CpuMode.Code64)
        {
            var based = segment is Register.FS or Register.GS;
            if (!based) op.Segment = 3;
            op.Address = wide == 4 ? AddressKind.Truncated64 : based ? AddressKind.Based64 : AddressKind.Flat64;
        }
        else
        {
            op.Address = wide == 2 ? AddressKind.Segmented16 : AddressKind.Segmented32;
        }
    }

    /// <summary>Whether bytes may be written; records the fault otherwise; that of a second page has its first address.</summary>
    private static bool CanStore(Vcpu cpu, ref Op op, int size, ulong offset)
    {
        if (!cpu.TryLinear(ref op, size, Access.Write, out var linear, offset)) return false;
        var last = linear + (uint)size - 1;
        return (cpu.TryRun(linear, Access.Write, out _, out _) && ((linear ^ last) <= 0xFFF || cpu.TryRun(last & ~0xFFFUL, Access.Write, out _, out _))) || cpu.StackFault(ref op);
    }

    private static nint Move(in Instruction i, bool aligned)
    {
        if (i.Op0Kind == OpKind.Memory)
        {
            return Shape(i) switch
            {
                5 => aligned ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreAligned<Vex256> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Store<Vex256>,
                _ => aligned ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreAligned<Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Store<Vex128>,
            };
        }

        return Shape(i) switch
        {
            0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveRegister<Legacy>,
            1 => aligned ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadAligned<Legacy> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Load<Legacy>,
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveRegister<Vex128>,
            3 => aligned ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadAligned<Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Load<Vex128>,
            4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveRegister<Vex256>,
            _ => aligned ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadAligned<Vex256> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Load<Vex256>,
        };
    }

    private static nint Scalar<T>(in Instruction i, ref Op op) where T : unmanaged
    {
        if (i.Op0Kind == OpKind.Memory) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreScalar<T>;
        var vex = IsVex(i);
        if (HasMemory(i)) return vex ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadScalar<T, Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadScalar<T, Legacy>;
        Normalise(i, ref op);
        return vex ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&MergeScalar<T, Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MergeScalar<T, Legacy>;
    }

    private static nint General<T>(in Instruction i) where T : unmanaged
    {
        if (i.Op0Kind == OpKind.Memory) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreScalar<T>;
        var vex = IsVex(i);
        if (i.Op1Kind == OpKind.Memory) return vex ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadScalar<T, Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadScalar<T, Legacy>;
        if (!i.Op0Register.IsXMM()) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ToGeneral<T>;
        return vex ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromGeneral<T, Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromGeneral<T, Legacy>;
    }

    private static nint Masked<T>(in Instruction i) where T : unmanaged
    {
        if (i.Op0Kind == OpKind.Memory) return IsWide(i) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&MaskedStore<T, Vex256> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MaskedStore<T, Vex128>;
        return IsWide(i) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&MaskedLoad<T, Vex256> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MaskedLoad<T, Vex128>;
    }
}
