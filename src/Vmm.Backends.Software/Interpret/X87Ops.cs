// Intel SDM vol. 2: the x87 instructions.
using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.FloatingPoint;
using static Vmm.Backends.Software.Interpret.X87Stack;

namespace Vmm.Backends.Software.Interpret;

/// <summary>
/// Arithmetic, comparisons, loads and stores of the x87 unit. An instruction whose unmasked exception forbids a result changes
/// nothing but the status word; the fault comes with the next waiting instruction. Extra is the number of pops.
/// </summary>
internal static partial class X87Ops
{
    private const uint Relation = FpFlags.C0 | FpFlags.C2 | FpFlags.C3;

    // A is the destination, B the source.
    private static ref Op ArithmeticRegister<TOp>(Vcpu cpu, ref Op op) where TOp : struct, IX87Binary
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        if (IsEmpty(ref x, op.A) || IsEmpty(ref x, op.B)) return ref Underflow(cpu, ref op, op.A, op.Extra);
        var raised = 0u;
        var result = TOp.Run(Get(ref x, op.A).Unpack(), Get(ref x, op.B).Unpack(), x.Control, ref raised);
        if (!X87Math.HasNoResult(x.Control, raised))
        {
            Set(ref x, op.A, result);
            Pop(ref x, op.Extra);
        }

        return ref End(cpu, ref op, raised);
    }

    private static ref Op ArithmeticMemory<TOp, T, TMemory>(Vcpu cpu, ref Op op)
        where TOp : struct, IX87Binary where T : unmanaged where TMemory : struct, IX87Memory<T>
    {
        if (!TryBegin(cpu) || !cpu.TryLoad<T>(ref op, out var value)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, true);
        ref var x = ref cpu.S.X87;
        if (IsEmpty(ref x, 0)) return ref Underflow(cpu, ref op, 0, 0);
        var raised = 0u;
        var result = TOp.Run(Get(ref x, 0).Unpack(), TMemory.Decode(value), x.Control, ref raised);
        if (!X87Math.HasNoResult(x.Control, raised)) Set(ref x, 0, result);
        return ref End(cpu, ref op, raised);
    }

    private static ref Op Unary<TOp>(Vcpu cpu, ref Op op) where TOp : struct, IX87Unary
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        if (IsEmpty(ref x, 0)) return ref Underflow(cpu, ref op, 0, 0, TOp.Codes & FpFlags.C2);
        var raised = 0u;
        var result = TOp.Run(Get(ref x, 0), x.Control, ref raised);
        if (!X87Math.HasNoResult(x.Control, raised)) Set(ref x, 0, result);
        return ref End(cpu, ref op, raised, TOp.Codes);
    }

    private static ref Op Pair<TOp>(Vcpu cpu, ref Op op) where TOp : struct, IX87Pair
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        var (destination, pops) = TOp.Pops ? (1, 1) : (0, 0);
        if (IsEmpty(ref x, 0) || IsEmpty(ref x, 1)) return ref Underflow(cpu, ref op, destination, pops, TOp.Codes & FpFlags.C2);
        var raised = 0u;
        var result = TOp.Run(Get(ref x, 0), Get(ref x, 1), x.Control, ref raised);
        if (!X87Math.HasNoResult(x.Control, raised))
        {
            Set(ref x, destination, result);
            Pop(ref x, pops);
        }

        // Without a quotient C0 and C3 stay as they were.
        var quotient = !X87Math.HasNoResult(x.Control, raised) && !result.Unpack().IsNaN;
        return ref End(cpu, ref op, raised, quotient ? TOp.Codes : TOp.Codes & FpFlags.C2);
    }

    // FSINCOS, FPTAN and FXTRACT: Extra 0, 1, 2.
    private static ref Op ReplaceAndPush(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        var codes = op.Extra == 2 ? 0 : FpFlags.C2;
        if (IsEmpty(ref x, 0) || !IsEmpty(ref x, -1)) return ref FaultOfTwo(cpu, ref op, codes);
        var raised = 0u;
        Float80 lower, top;
        switch (op.Extra)
        {
            case 0:
                (lower, top) = X87Math.SineAndCosine(Get(ref x, 0), x.Control, ref raised);
                break;
            case 1:
                lower = X87Math.Tangent(Get(ref x, 0), x.Control, ref raised);
                top = lower.Unpack().IsNaN ? lower : Float80.One;
                break;
            default:
                (lower, top) = X87Math.Extract(Get(ref x, 0), x.Control, ref raised);
                break;
        }

        if (!X87Math.HasNoResult(x.Control, raised) && (raised & FpFlags.C2) == 0)
        {
            Set(ref x, 0, lower);
            Push(ref x, top);
        }

        return ref End(cpu, ref op, raised, codes);
    }

    private static ref Op LoadRegister(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        if (IsEmpty(ref x, op.A))
        {
            if ((x.Control & FpFlags.Invalid) != 0) Push(ref x, Float80.Indefinite);
            return ref End(cpu, ref op, FpFlags.Invalid | FpFlags.StackFault);
        }

        if (!IsEmpty(ref x, -1)) return ref Overflow(cpu, ref op);
        Push(ref x, Get(ref x, op.A));
        return ref End(cpu, ref op, 0);
    }

    private static ref Op LoadMemory<T, TMemory>(Vcpu cpu, ref Op op) where T : unmanaged where TMemory : struct, IX87Memory<T>
    {
        if (!TryBegin(cpu) || !cpu.TryLoad<T>(ref op, out var value)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, true);
        ref var x = ref cpu.S.X87;
        if (!IsEmpty(ref x, -1)) return ref Overflow(cpu, ref op);
        var raised = 0u;
        var result = TMemory.Load(value, ref raised);
        if (!X87Math.HasNoResult(x.Control, raised & ~FpFlags.Denormal)) Push(ref x, result);
        return ref End(cpu, ref op, raised);
    }

    // Extra: 0 FLD1, 1 FLDL2T, 2 FLDL2E, 3 FLDPI, 4 FLDLG2, 5 FLDLN2, 6 FLDZ.
    private static ref Op LoadConstant(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        if (!IsEmpty(ref x, -1)) return ref Overflow(cpu, ref op);
        Push(ref x, op.Extra switch
        {
            0 => Float80.One,
            1 => X87Math.Log2Of10(x.Control),
            2 => X87Math.Log2OfE(x.Control),
            3 => X87Math.Pi(x.Control),
            4 => X87Math.Log10Of2(x.Control),
            5 => X87Math.LnOf2(x.Control),
            _ => Float80.Zero,
        });
        return ref End(cpu, ref op, 0);
    }

    private static ref Op StoreRegister(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        if (IsEmpty(ref x, 0)) return ref Underflow(cpu, ref op, op.A, op.Extra);
        Set(ref x, op.A, Get(ref x, 0));
        Pop(ref x, op.Extra);
        return ref End(cpu, ref op, 0);
    }

    private static ref Op StoreMemory<T, TMemory>(Vcpu cpu, ref Op op) where T : unmanaged where TMemory : struct, IX87Memory<T>
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        ref var x = ref cpu.S.X87;
        var raised = 0u;
        var value = TMemory.Indefinite;
        if (IsEmpty(ref x, 0)) raised = FpFlags.Invalid | FpFlags.StackFault;
        else value = TMemory.Store(Get(ref x, 0), x.Control, ref raised);
        if (!X87Math.HasNoResult(x.Control, raised, TMemory.IsReal))
        {
            if (!cpu.TryStore(ref op, value)) return ref cpu.Fault(ref op);
            Pop(ref x, op.Extra);
        }
        else if (!cpu.TryProbeStore(ref op, Unsafe.SizeOf<T>()))
        {
            return ref cpu.Fault(ref op);
        }

        Note(cpu, ref op, true);
        return ref End(cpu, ref op, raised);
    }

    // FSTPNCE (D9 D8+i, undocumented): as FSTP, but without a fault: an empty register is just popped.
    private static ref Op MoveRegister(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        if (!IsEmpty(ref x, 0)) Set(ref x, op.A, Get(ref x, 0));
        Pop(ref x, 1);
        return ref End(cpu, ref op, 0);
    }

    // FCOM, FCOMP, FCOMPP, FUCOM and so on: B is the other register, C is 1 for the unordered ones.
    private static ref Op CompareRegister(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        var raised = 0u;
        var codes = Compare(ref cpu.S.X87, op.B, op.C != 0, ref raised);
        if (!X87Math.HasNoResult(cpu.S.X87.Control, raised)) Pop(ref cpu.S.X87, op.Extra);
        return ref End(cpu, ref op, raised | codes, Relation);
    }

    // FCOMI and relatives, likewise; C1 stays unless the stack is at fault.
    private static ref Op CompareToFlags(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        var raised = 0u;
        var codes = Compare(ref cpu.S.X87, op.B, op.C != 0, ref raised);
        cpu.S.SetArithmetic(((codes & FpFlags.C3) != 0 ? Flags.ZF : 0) | ((codes & FpFlags.C2) != 0 ? Flags.PF : 0) | ((codes & FpFlags.C0) != 0 ? Flags.CF : 0));
        if (!X87Math.HasNoResult(cpu.S.X87.Control, raised)) Pop(ref cpu.S.X87, op.Extra);
        if ((raised & FpFlags.StackFault) == 0) raised |= cpu.S.X87.Status & FpFlags.C1;
        return ref End(cpu, ref op, raised);
    }

    private static ref Op CompareMemory<T, TMemory>(Vcpu cpu, ref Op op) where T : unmanaged where TMemory : struct, IX87Memory<T>
    {
        if (!TryBegin(cpu) || !cpu.TryLoad<T>(ref op, out var value)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, true);
        ref var x = ref cpu.S.X87;
        var raised = 0u;
        uint codes;
        if (IsEmpty(ref x, 0)) (codes, raised) = (Relation, FpFlags.Invalid | FpFlags.StackFault);
        else codes = X87Math.Compare(Get(ref x, 0).Unpack(), TMemory.Decode(value), ref raised);
        if (!X87Math.HasNoResult(x.Control, raised)) Pop(ref x, op.Extra);
        return ref End(cpu, ref op, raised | codes, Relation);
    }

    private static ref Op Test(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        if (IsEmpty(ref x, 0)) return ref End(cpu, ref op, FpFlags.Invalid | FpFlags.StackFault | Relation, Relation);
        var raised = 0u;
        var codes = X87Math.Compare(Get(ref x, 0).Unpack(), default, ref raised);
        return ref End(cpu, ref op, raised | codes, Relation);
    }

    private static ref Op Examine(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        var value = Get(ref x, 0);
        var codes = IsEmpty(ref x, 0) ? FpFlags.C3 | FpFlags.C0 | (value.Sign ? FpFlags.C1 : 0) : value.Examine();
        return ref End(cpu, ref op, codes, Relation);
    }

    private static ref Op Exchange(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        var raised = 0u;
        if (IsEmpty(ref x, 0) || IsEmpty(ref x, op.B))
        {
            raised = FpFlags.Invalid | FpFlags.StackFault;
            if ((x.Control & FpFlags.Invalid) == 0) return ref End(cpu, ref op, raised);
            if (IsEmpty(ref x, 0)) Set(ref x, 0, Float80.Indefinite);
            if (IsEmpty(ref x, op.B)) Set(ref x, op.B, Float80.Indefinite);
        }

        var (first, second) = (Get(ref x, 0), Get(ref x, op.B));
        Set(ref x, 0, second);
        Set(ref x, op.B, first);
        return ref End(cpu, ref op, raised);
    }

    // FCMOVcc: Extra bits 0 to 2 choose CF, ZF or PF as the condition, bit 3 inverts it.
    private static ref Op MoveIf(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        if (IsEmpty(ref x, 0) || IsEmpty(ref x, op.B)) return ref Underflow(cpu, ref op, 0, 0);
        var condition = ((op.Extra & 1) != 0 && cpu.S.CF) || ((op.Extra & 2) != 0 && cpu.S.ZF) || ((op.Extra & 4) != 0 && cpu.S.PF);
        if (condition != ((op.Extra & 8) != 0)) Set(ref x, 0, Get(ref x, op.B));
        return ref Vcpu.Next(ref op); // C1 stays
    }

    private static uint Compare(ref X87State x, int other, bool unordered, ref uint raised)
    {
        if (IsEmpty(ref x, 0) || IsEmpty(ref x, other))
        {
            raised |= FpFlags.Invalid | FpFlags.StackFault;
            return Relation;
        }

        var (a, b) = (Get(ref x, 0).Unpack(), Get(ref x, other).Unpack());
        return unordered ? X87Math.CompareUnordered(a, b, ref raised) : X87Math.Compare(a, b, ref raised);
    }
}
