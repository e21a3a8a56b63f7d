using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>PUSH and POP of registers, memory and constants, PUSHA, POPA, ENTER and LEAVE. Flags are in <c>StackOps.Flags.cs</c>.</summary>
internal static partial class StackOps
{
    private const byte Rsp = 32, Rbp = 40;

    private static ref Op PushReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryPush(cpu.Reg<T>(op.A))) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op PushImm<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryPush(Width.Imm<T>(ref op))) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op PushMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var value) || !cpu.TryPush(value)) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op PopReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryPop<T>(out var value)) return ref cpu.Fault(ref op);
        // After RSP has moved: POP RSP leaves the popped value.
        cpu.SetReg(op.A, value);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op PopMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        // An operand with RSP as base is addressed with RSP already moved.
        var before = cpu.Reg<ulong>(Rsp);
        if (!cpu.TryPop<T>(out var value)) return ref cpu.Fault(ref op);
        if (!cpu.TryStore(ref op, value))
        {
            cpu.Reg<ulong>(Rsp) = before;
            return ref cpu.Fault(ref op);
        }

        return ref Vcpu.Next(ref op);
    }

    private static ref Op PushAll<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var size = (uint)Unsafe.SizeOf<T>();
        for (var i = 0u; i < 8; i++)
        {
            if (!cpu.TryPoke(0UL - size * (i + 1), cpu.Reg<T>((byte)(i * 8)))) return ref cpu.Fault(ref op);
        }

        cpu.AdjustStack(0UL - size * 8);
        return ref cpu.Chain(ref op);
    }

    private static ref Op PopAll<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var size = (uint)Unsafe.SizeOf<T>();
        Span<T> values = stackalloc T[8];
        for (var i = 0u; i < 8; i++)
        {
            if (!cpu.TryPeek(size * i, out values[(int)i])) return ref cpu.Fault(ref op);
        }

        cpu.AdjustStack(size * 8);
        for (var i = 0; i < 8; i++)
        {
            if (i != 3) cpu.SetReg((byte)((7 - i) * 8), values[i]);
        }

        return ref cpu.Chain(ref op);
    }

    /// <summary>ENTER: Imm is the frame's size, with the nesting level in bits 16 to 20.</summary>
    private static ref Op Enter<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var size = (uint)Unsafe.SizeOf<T>();
        var level = (uint)(op.Imm >> 16) & 31;
        var rsp = cpu.Reg<ulong>(Rsp);
        var frame = cpu.Reg<ulong>(Rbp);
        if (!cpu.TryPoke(0UL - size, cpu.Reg<T>(Rbp))) return ref cpu.Fault(ref op);
        var depth = size;
        var pointer = rsp - size;
        if (level > 0)
        {
            for (var i = 1u; i < level; i++)
            {
                depth += size;
                if (!cpu.TryPeek<T>(frame - size * i - rsp, out var outer) || !cpu.TryPoke(0UL - depth, outer)) return ref cpu.Fault(ref op);
            }

            depth += size;
            if (!cpu.TryPoke(0UL - depth, Width.Narrow<T>(pointer))) return ref cpu.Fault(ref op);
        }

        // The end of the new frame must be writable, though nothing is stored there.
        var move = 0UL - depth - (ushort)op.Imm;
        if (!cpu.TryTouchStack(move)) return ref cpu.Fault(ref op);
        cpu.AdjustStack(move);
        if (cpu.S.StackMask == 0xFFFF || Unsafe.SizeOf<T>() == 2) cpu.Reg<ushort>(Rbp) = (ushort)pointer;
        else cpu.SetReg(Rbp, Width.Narrow<T>(pointer));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op Leave<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var move = cpu.Reg<ulong>(Rbp) - cpu.Reg<ulong>(Rsp);
        if (!cpu.TryPeek<T>(move, out var value)) return ref cpu.Fault(ref op);
        cpu.AdjustStack(move + (uint)Unsafe.SizeOf<T>());
        cpu.SetReg(Rbp, value);
        return ref Vcpu.Next(ref op);
    }
}
