using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using static Vmm.Backends.Software.Interpret.X87Operations;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class X87Ops
{
    /// <summary>Binds the group's instructions: x87 and MMX.</summary>
    public static bool TryBind(in Instruction instruction, uint mode, ref Op op)
    {
        op.Handler = Choose(instruction, ref op);
        return op.Handler != 0 || MmxOps.TryBind(instruction, mode, ref op);
    }

    // SAFETY: function pointers to static methods; nothing is dereferenced in this file.
    private static nint Choose(in Instruction i, ref Op op)
    {
        switch (i.Mnemonic)
        {
            case Mnemonic.Fadd or Mnemonic.Fiadd: return Arithmetic<Add>(i);
            case Mnemonic.Fsub or Mnemonic.Fisub: return Arithmetic<Sub>(i);
            case Mnemonic.Fsubr or Mnemonic.Fisubr: return Arithmetic<SubReversed>(i);
            case Mnemonic.Fmul or Mnemonic.Fimul: return Arithmetic<Mul>(i);
            case Mnemonic.Fdiv or Mnemonic.Fidiv: return Arithmetic<Div>(i);
            case Mnemonic.Fdivr or Mnemonic.Fidivr: return Arithmetic<DivReversed>(i);
            case Mnemonic.Faddp: op.Extra = 1; return Arithmetic<Add>(i);
            case Mnemonic.Fsubp: op.Extra = 1; return Arithmetic<Sub>(i);
            case Mnemonic.Fsubrp: op.Extra = 1; return Arithmetic<SubReversed>(i);
            case Mnemonic.Fmulp: op.Extra = 1; return Arithmetic<Mul>(i);
            case Mnemonic.Fdivp: op.Extra = 1; return Arithmetic<Div>(i);
            case Mnemonic.Fdivrp: op.Extra = 1; return Arithmetic<DivReversed>(i);
            case Mnemonic.Fabs: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Unary<Absolute>;
            case Mnemonic.Fchs: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Unary<ChangeSign>;
            case Mnemonic.Fsqrt: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Unary<SquareRoot>;
            case Mnemonic.Frndint: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Unary<RoundToInteger>;
            case Mnemonic.F2xm1: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Unary<PowerOf2Minus1>;
            case Mnemonic.Fsin: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Unary<Sine>;
            case Mnemonic.Fcos: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Unary<Cosine>;
            case Mnemonic.Fprem: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Pair<Remainder>;
            case Mnemonic.Fprem1: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Pair<RemainderNearest>;
            case Mnemonic.Fscale: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Pair<Scale>;
            case Mnemonic.Fpatan: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Pair<ArcTangent>;
            case Mnemonic.Fyl2x: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Pair<MultiplyLog2>;
            case Mnemonic.Fyl2xp1: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Pair<MultiplyLog2Of1Plus>;
            case Mnemonic.Fsincos: op.Extra = 0; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReplaceAndPush;
            case Mnemonic.Fptan: op.Extra = 1; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReplaceAndPush;
            case Mnemonic.Fxtract: op.Extra = 2; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReplaceAndPush;
            case Mnemonic.Fld or Mnemonic.Fild or Mnemonic.Fbld: return Load(i);
            case Mnemonic.Fld1: return Constant(ref op, 0);
            case Mnemonic.Fldl2t: return Constant(ref op, 1);
            case Mnemonic.Fldl2e: return Constant(ref op, 2);
            case Mnemonic.Fldpi: return Constant(ref op, 3);
            case Mnemonic.Fldlg2: return Constant(ref op, 4);
            case Mnemonic.Fldln2: return Constant(ref op, 5);
            case Mnemonic.Fldz: return Constant(ref op, 6);
            case Mnemonic.Fst or Mnemonic.Fist: return Store(i, false);
            case Mnemonic.Fstp or Mnemonic.Fistp or Mnemonic.Fbstp: op.Extra = 1; return Store(i, false);
            case Mnemonic.Fstpnce: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveRegister;
            case Mnemonic.Fisttp: op.Extra = 1; return Store(i, true);
            case Mnemonic.Fcom or Mnemonic.Ficom: return Comparison(i);
            case Mnemonic.Fcomp or Mnemonic.Ficomp: op.Extra = 1; return Comparison(i);
            case Mnemonic.Fcompp: (op.B, op.Extra) = (1, 2); return Comparison(i);
            case Mnemonic.Fucom: op.C = 1; return Comparison(i);
            case Mnemonic.Fucomp: (op.C, op.Extra) = (1, 1); return Comparison(i);
            case Mnemonic.Fucompp: (op.B, op.C, op.Extra) = (1, 1, 2); return Comparison(i);
            case Mnemonic.Fcomi: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareToFlags;
            case Mnemonic.Fcomip: op.Extra = 1; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareToFlags;
            case Mnemonic.Fucomi: op.C = 1; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareToFlags;
            case Mnemonic.Fucomip: (op.C, op.Extra) = (1, 1); return (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareToFlags;
            case Mnemonic.Ftst: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Test;
            case Mnemonic.Fxam: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Examine;
            case Mnemonic.Fxch: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Exchange;
            case Mnemonic.Fcmovb: return Conditional(ref op, 1);
            case Mnemonic.Fcmove: return Conditional(ref op, 2);
            case Mnemonic.Fcmovbe: return Conditional(ref op, 3);
            case Mnemonic.Fcmovu: return Conditional(ref op, 4);
            case Mnemonic.Fcmovnb: return Conditional(ref op, 9);
            case Mnemonic.Fcmovne: return Conditional(ref op, 10);
            case Mnemonic.Fcmovnbe: return Conditional(ref op, 11);
            case Mnemonic.Fcmovnu: return Conditional(ref op, 12);
            case Mnemonic.Wait: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.Wait;
            case Mnemonic.Fnop: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.Nothing;
            case Mnemonic.Fneni or Mnemonic.Fndisi or Mnemonic.Fnsetpm or Mnemonic.Frstpm: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.Obsolete;
            case Mnemonic.Fincstp: op.Extra = 1; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.MoveTop;
            case Mnemonic.Fdecstp: op.Extra = 7; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.MoveTop;
            case Mnemonic.Ffree: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.Free;
            case Mnemonic.Ffreep: op.Extra = 1; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.Free;
            case Mnemonic.Fninit: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.Initialize;
            case Mnemonic.Fnclex: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.ClearExceptions;
            case Mnemonic.Fldcw: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.LoadControl;
            case Mnemonic.Fnstcw: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.StoreControl;
            case Mnemonic.Fnstsw:
                return i.Op0Kind == OpKind.Memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.StoreStatus : (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.StoreStatusToAx;
            case Mnemonic.Fldenv: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.LoadEnvironment;
            case Mnemonic.Fnstenv: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.StoreEnvironment;
            case Mnemonic.Frstor: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.Restore;
            case Mnemonic.Fnsave: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&X87ControlOps.Save;
            default: return 0;
        }
    }

    private static nint Arithmetic<TOp>(in Instruction i) where TOp : struct, IX87Binary => i.Op0Kind != OpKind.Memory
        ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ArithmeticRegister<TOp>
        : i.MemorySize switch
        {
            MemorySize.Float32 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ArithmeticMemory<TOp, uint, Real32>,
            MemorySize.Float64 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ArithmeticMemory<TOp, ulong, Real64>,
            MemorySize.Int16 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ArithmeticMemory<TOp, short, Integer16>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ArithmeticMemory<TOp, int, Integer32>,
        };

    private static nint Load(in Instruction i) => i.Op0Kind != OpKind.Memory
        ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadRegister
        : i.MemorySize switch
        {
            MemorySize.Float32 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadMemory<uint, Real32>,
            MemorySize.Float64 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadMemory<ulong, Real64>,
            MemorySize.Float80 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadMemory<Extended, Real80>,
            MemorySize.Bcd => (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadMemory<Extended, X87Operations.Decimal>,
            MemorySize.Int16 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadMemory<short, Integer16>,
            MemorySize.Int32 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadMemory<int, Integer32>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadMemory<long, Integer64>,
        };

    private static nint Store(in Instruction i, bool truncate) => i.Op0Kind != OpKind.Memory
        ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreRegister
        : i.MemorySize switch
        {
            MemorySize.Float32 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMemory<uint, Real32>,
            MemorySize.Float64 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMemory<ulong, Real64>,
            MemorySize.Float80 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMemory<Extended, Real80>,
            MemorySize.Bcd => (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMemory<Extended, X87Operations.Decimal>,
            MemorySize.Int16 when truncate => (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMemory<short, Truncated16>,
            MemorySize.Int32 when truncate => (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMemory<int, Truncated32>,
            MemorySize.Int64 when truncate => (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMemory<long, Truncated64>,
            MemorySize.Int16 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMemory<short, Integer16>,
            MemorySize.Int32 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMemory<int, Integer32>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMemory<long, Integer64>,
        };

    private static nint Comparison(in Instruction i) => i.OpCount == 0 || i.Op0Kind != OpKind.Memory
        ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareRegister
        : i.MemorySize switch
        {
            MemorySize.Float32 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareMemory<uint, Real32>,
            MemorySize.Float64 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareMemory<ulong, Real64>,
            MemorySize.Int16 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareMemory<short, Integer16>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareMemory<int, Integer32>,
        };

    private static nint Constant(ref Op op, ushort number)
    {
        op.Extra = number;
        return (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadConstant;
    }

    private static nint Conditional(ref Op op, ushort condition)
    {
        op.Extra = condition;
        return (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveIf;
    }
}
