using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static partial class ControlOps
{
    private static ref Op End(Vcpu cpu, ref Op op)
    {
        cpu.S.Rip = cpu.Wrap(cpu.Reg<ulong>(Vcpu.RipSlot) + op.Imm);
        return ref cpu.Continue();
    }

    private static ref Op EndInShadow(Vcpu cpu, ref Op op)
    {
        cpu.S.Rip = cpu.Wrap(cpu.Reg<ulong>(Vcpu.RipSlot) + op.Imm);
        return ref cpu.EnterInShadow();
    }

    // Behind an instruction that is done alone for translated code: coming back with this op says that it fell through.
    private static ref Op StopHere(Vcpu cpu, ref Op op) => ref op;

    private static ref Op EndStep(Vcpu cpu, ref Op op)
    {
        cpu.S.Rip = cpu.Wrap(cpu.Reg<ulong>(Vcpu.RipSlot) + op.Imm);
        return ref Vcpu.Leave();
    }

    private static ref Op LeaveStale(Vcpu cpu, ref Op op)
    {
        cpu.Rewind(ref op);
        return ref Vcpu.Leave();
    }

    private static ref Op RaiseUndefined(Vcpu cpu, ref Op op) => ref cpu.Fault(ref op, Vector.UD);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Branch(Vcpu cpu, ref Op op, bool taken)
    {
        ref var s = ref cpu.S;
        if (!taken)
        {
            s.Rip = cpu.Wrap(cpu.RipAfter(ref op));
            return ref cpu.Continue();
        }

        return ref Jump(cpu, ref op);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Jump(Vcpu cpu, ref Op op)
    {
        var target = cpu.Reg<ulong>(Vcpu.RipSlot) + op.Imm;
        if (op.Extra != 64) return ref JumpNarrow(cpu, ref op, target);
        // A direct branch reaches 2 GiB, so it can leave the canonical range only at its edges.
        if (!cpu.IsCanonical(target)) return ref cpu.Fault(ref op, Vector.GP);
        cpu.S.Rip = target;
        return ref cpu.Continue();
    }

    private static ref Op JumpNarrow(Vcpu cpu, ref Op op, ulong target)
    {
        target = op.Extra == 16 ? (ushort)target : (uint)target;
        if (target > cpu.S.CodeLimit) return ref cpu.Fault(ref op, Vector.GP);
        cpu.S.Rip = target;
        return ref cpu.Continue();
    }

    private static ref Op JumpNear(Vcpu cpu, ref Op op) => ref Jump(cpu, ref op);

    private static ref Op Jo(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, cpu.S.OF);

    private static ref Op Jno(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, !cpu.S.OF);

    private static ref Op Jb(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, cpu.S.CF);

    private static ref Op Jae(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, !cpu.S.CF);

    private static ref Op Je(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, cpu.S.ZF);

    private static ref Op Jne(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, !cpu.S.ZF);

    private static ref Op Jbe(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, cpu.S.CF | cpu.S.ZF);

    private static ref Op Ja(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, !(cpu.S.CF | cpu.S.ZF));

    private static ref Op Js(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, cpu.S.SF);

    private static ref Op Jns(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, !cpu.S.SF);

    private static ref Op Jp(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, cpu.S.PF);

    private static ref Op Jnp(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, !cpu.S.PF);

    private static ref Op Jl(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, cpu.S.SF != cpu.S.OF);

    private static ref Op Jge(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, cpu.S.SF == cpu.S.OF);

    private static ref Op Jle(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, cpu.S.ZF | (cpu.S.SF != cpu.S.OF));

    private static ref Op Jg(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, !(cpu.S.ZF | (cpu.S.SF != cpu.S.OF)));

    private static ref Op JumpIfCountZero(Vcpu cpu, ref Op op) => ref Branch(cpu, ref op, Count(cpu, ref op) == 0);

    private static ref Op Loop(Vcpu cpu, ref Op op) => ref LoopWhile(cpu, ref op, true);

    private static ref Op LoopE(Vcpu cpu, ref Op op) => ref LoopWhile(cpu, ref op, cpu.S.ZF);

    private static ref Op LoopNe(Vcpu cpu, ref Op op) => ref LoopWhile(cpu, ref op, !cpu.S.ZF);

    private static ref Op LoopWhile(Vcpu cpu, ref Op op, bool condition)
    {
        var before = cpu.Gpr(1);
        switch (op.Size)
        {
            case 2: cpu.Reg<ushort>(8)--; break;
            case 4: cpu.SetReg<uint>(8, cpu.Reg<uint>(8) - 1); break;
            default: cpu.Gpr(1)--; break;
        }

        ref var next = ref Branch(cpu, ref op, condition && Count(cpu, ref op) != 0);
        if (cpu.S.FaultVector >= 0) cpu.Gpr(1) = before;
        return ref next;
    }

    private static ulong Count(Vcpu cpu, ref Op op) => op.Size switch { 2 => cpu.Reg<ushort>(8), 4 => cpu.Reg<uint>(8), _ => cpu.Gpr(1) };

    private static ref Op CallNear<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var target = cpu.Reg<ulong>(Vcpu.RipSlot) + op.Imm;
        return ref Call<T>(cpu, ref op, Width.Zero(Width.Narrow<T>(target)));
    }

    private static ref Op JumpRegister<T>(Vcpu cpu, ref Op op) where T : unmanaged => ref JumpTo(cpu, ref op, Width.Zero(cpu.Reg<T>(op.A)));

    private static ref Op JumpMemory<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var target)) return ref cpu.Fault(ref op);
        return ref JumpTo(cpu, ref op, Width.Zero(target));
    }

    private static ref Op CallRegister<T>(Vcpu cpu, ref Op op) where T : unmanaged => ref Call<T>(cpu, ref op, Width.Zero(cpu.Reg<T>(op.A)));

    private static ref Op CallMemory<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var target)) return ref cpu.Fault(ref op);
        return ref Call<T>(cpu, ref op, Width.Zero(target));
    }

    private static ref Op Return<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryPeek<T>(0, out var value)) return ref cpu.Fault(ref op);
        var target = Width.Zero(value);
        if (!cpu.IsCodeAddress(target)) return ref cpu.Fault(ref op, Vector.GP);
        cpu.AdjustStack((uint)Unsafe.SizeOf<T>() + op.Imm);
        cpu.S.Rip = target;
        return ref cpu.Continue();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Call<T>(Vcpu cpu, ref Op op, ulong target) where T : unmanaged
    {
        if (!cpu.IsCodeAddress(target)) return ref cpu.Fault(ref op, Vector.GP);
        var back = cpu.RipAfter(ref op);
        if (!cpu.TryPush(Unsafe.As<ulong, T>(ref back))) return ref cpu.Fault(ref op);
        cpu.S.Rip = target;
        return ref cpu.Continue();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op JumpTo(Vcpu cpu, ref Op op, ulong target)
    {
        if (!cpu.IsCodeAddress(target)) return ref cpu.Fault(ref op, Vector.GP);
        cpu.S.Rip = target;
        return ref cpu.Continue();
    }
}
