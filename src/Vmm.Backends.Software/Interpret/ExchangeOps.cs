using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>XCHG, XADD, CMPXCHG, CMPXCHG8B and CMPXCHG16B.</summary>
internal static partial class ExchangeOps
{
    private static ref Op XchgReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var (a, b) = (cpu.Reg<T>(op.A), cpu.Reg<T>(op.B));
        cpu.SetReg(op.A, b);
        cpu.SetReg(op.B, a);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op XchgMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var b = cpu.Reg<T>(op.A);
        T a;
        Cell cell;
        do
        {
            if (!cpu.TryBeginUpdate(ref op, out a, out cell)) return ref cpu.Fault(ref op);
        }
        while (!cpu.EndUpdate(ref op, cell, a, b));
        cpu.SetReg(op.A, a);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op XaddReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var (a, b) = (cpu.Reg<T>(op.A), cpu.Reg<T>(op.B));
        var r = Width.Add(a, b);
        // The sum wins if both are the same register.
        cpu.SetReg(op.B, a);
        cpu.SetReg(op.A, r);
        cpu.S.SetAdd(a, b, r);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op XaddMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var b = cpu.Reg<T>(op.A);
        T a, r;
        Cell cell;
        do
        {
            if (!cpu.TryBeginUpdate(ref op, out a, out cell)) return ref cpu.Fault(ref op);
            r = Width.Add(a, b);
        }
        while (!cpu.EndUpdate(ref op, cell, a, r));
        cpu.SetReg(op.A, a);
        cpu.S.SetAdd(a, b, r);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op CompareReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var (accumulator, a, b) = (cpu.Reg<T>(0), cpu.Reg<T>(op.A), cpu.Reg<T>(op.B));
        // Unlike memory, a register that does not match is not written at all: its upper half stays.
        if (Width.Same(accumulator, a)) cpu.SetReg(op.A, b);
        else cpu.SetReg(0, a);

        cpu.S.SetSub(accumulator, a, Width.Sub(accumulator, a));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op CompareMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var (accumulator, b) = (cpu.Reg<T>(0), cpu.Reg<T>(op.A));
        T a;
        Cell cell;
        do
        {
            if (!cpu.TryBeginUpdate(ref op, out a, out cell)) return ref cpu.Fault(ref op);
        }
        while (!cpu.EndUpdate(ref op, cell, a, Width.Same(accumulator, a) ? b : a));
        if (!Width.Same(accumulator, a)) cpu.SetReg(0, a);
        cpu.S.SetSub(accumulator, a, Width.Sub(accumulator, a));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op CompareWide8(Vcpu cpu, ref Op op)
    {
        var expected = ((ulong)cpu.Reg<uint>(16) << 32) | cpu.Reg<uint>(0);
        var replacement = ((ulong)cpu.Reg<uint>(8) << 32) | cpu.Reg<uint>(24);
        ulong a;
        Cell cell;
        do
        {
            if (!cpu.TryBeginUpdate(ref op, out a, out cell)) return ref cpu.Fault(ref op);
        }
        while (!cpu.EndUpdate(ref op, cell, a, a == expected ? replacement : a));
        if (a != expected)
        {
            cpu.SetReg(0, (uint)a);
            cpu.SetReg(16, (uint)(a >> 32));
        }

        SetZero(ref cpu.S, a == expected);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op CompareWide16(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryLinear(ref op, 16, Access.Write, out var linear)) return ref cpu.Fault(ref op);
        if ((linear & 15) != 0) return ref cpu.Fault(ref op, Vector.GP);
        var expected = new UInt128(cpu.Gpr(2), cpu.Gpr(0));
        var replacement = new UInt128(cpu.Gpr(1), cpu.Gpr(3));
        UInt128 a;
        Cell cell;
        do
        {
            if (!cpu.TryBeginUpdate(ref op, out a, out cell)) return ref cpu.Fault(ref op);
        }
        while (!cpu.EndUpdate(ref op, cell, a, a == expected ? replacement : a));
        if (a != expected)
        {
            cpu.Gpr(0) = (ulong)a;
            cpu.Gpr(2) = (ulong)(a >> 64);
        }

        SetZero(ref cpu.S, a == expected);
        return ref Vcpu.Next(ref op);
    }

    private static void SetZero(ref CpuState s, bool zero) => s.SetArithmetic((s.Arithmetic & ~Flags.ZF) | (zero ? Flags.ZF : 0));
}
