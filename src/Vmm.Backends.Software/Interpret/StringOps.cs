using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>
/// MOVS, STOS, LODS, CMPS and SCAS. In their ops Imm is the address size's mask, and Extra is 1 in 64-bit code, where only FS and
/// GS have a base and nothing a limit.
/// </summary>
internal static partial class StringOps
{
    private const byte Rax = 0, Rcx = 8, Rsi = 48, Rdi = 56;

    /// <summary>Elements after which a repeated instruction is left for a moment, so that interrupts are seen.</summary>
    private const int LongestRun = 4096;

    /// <summary>One of the instructions, as a type.</summary>
    private interface IString
    {
        /// <summary>Does one element and moves the index registers; false with a fault recorded and nothing changed.</summary>
        static abstract bool TryOne<T>(Vcpu cpu, ref Op op) where T : unmanaged;

        /// <summary>
        /// Does as many elements as lie in one page (of each operand), and moves the index registers. Zero: the next element must be
        /// done by itself; negative: a fault has been recorded and nothing changed.
        /// </summary>
        static abstract int Run<T>(Vcpu cpu, ref Op op, int most) where T : unmanaged;

        /// <summary>Whether ZF ends the repetition: CMPS and SCAS.</summary>
        static abstract bool Compares { get; }
    }

    private static ref Op Once<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IString where T : unmanaged
    {
        if (!TOp.TryOne<T>(cpu, ref op)) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>
    /// With REP, REPE or REPNE. The registers are those of the next iteration whenever it leaves, for a fault or for a look at
    /// events; it then runs again from there. It counts as one instruction, when it completes.
    /// </summary>
    private static ref Op Repeat<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IString where T : unmanaged
    {
        var left = cpu.Reg<ulong>(Rcx) & op.Imm;
        // Single step traps after each iteration.
        var stepping = (cpu.S.Mode & CpuMode.Step) != 0;
        var most = stepping ? 1 : LongestRun;
        while (left != 0)
        {
            if (most <= 0)
            {
                cpu.Rewind(ref op);
                if (stepping) return ref Vcpu.Leave();
                return ref cpu.Continue();
            }

            var done = TOp.Run<T>(cpu, ref op, (int)Math.Min(left, (uint)most));
            if (done < 0) return ref cpu.Fault(ref op);
            if (done == 0)
            {
                if (!TOp.TryOne<T>(cpu, ref op)) return ref cpu.Fault(ref op);
                done = 1;
            }

            left -= (uint)done;
            most -= done;
            Advance(cpu, ref op, Rcx, -done);
            if (TOp.Compares && cpu.S.ZF != ((op.Flags & OpFlags.Repne) == 0)) break;
        }

        return ref Vcpu.Next(ref op);
    }

    /// <summary>Adds to a count or index register as the address size has it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Advance(Vcpu cpu, ref Op op, byte register, long bytes)
    {
        ref var value = ref cpu.Reg<ulong>(register);
        if (op.Imm == ushort.MaxValue) value = (value & ~0xFFFFUL) | (ushort)(value + (ulong)bytes);
        else value = (value + (ulong)bytes) & op.Imm;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Backward(Vcpu cpu) => (cpu.S.SystemFlags & Flags.DF) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long Step<T>(Vcpu cpu) where T : unmanaged => Backward(cpu) ? -Unsafe.SizeOf<T>() : Unsafe.SizeOf<T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryAddress(Vcpu cpu, ref Op op, byte register, int segment, int size, Access access, out ulong linear)
    {
        linear = cpu.Reg<ulong>(register) & op.Imm;
        if (op.Extra == 0) return cpu.TrySegment(segment, linear, size, access, out linear);
        if (segment >= 4) linear += cpu.Seg(segment).Base;
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TrySource<T>(Vcpu cpu, ref Op op, out T value) where T : unmanaged
    {
        value = default;
        return TryAddress(cpu, ref op, Rsi, op.Segment, Unsafe.SizeOf<T>(), Access.Read, out var linear) && cpu.TryRead(linear, out value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryTarget<T>(Vcpu cpu, ref Op op, out T value) where T : unmanaged
    {
        value = default;
        return TryAddress(cpu, ref op, Rdi, 0, Unsafe.SizeOf<T>(), Access.Read, out var linear) && cpu.TryRead(linear, out value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryStore<T>(Vcpu cpu, ref Op op, T value) where T : unmanaged =>
        TryAddress(cpu, ref op, Rdi, 0, Unsafe.SizeOf<T>(), Access.Write, out var linear) && cpu.TryWrite(linear, value);

    private readonly partial struct Move : IString
    {
        public static bool Compares => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryOne<T>(Vcpu cpu, ref Op op) where T : unmanaged
        {
            if (!TrySource<T>(cpu, ref op, out var value) || !TryStore(cpu, ref op, value)) return false;
            var step = Step<T>(cpu);
            Advance(cpu, ref op, Rsi, step);
            Advance(cpu, ref op, Rdi, step);
            return true;
        }
    }

    private readonly partial struct Store : IString
    {
        public static bool Compares => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryOne<T>(Vcpu cpu, ref Op op) where T : unmanaged
        {
            if (!TryStore(cpu, ref op, cpu.Reg<T>(Rax))) return false;
            Advance(cpu, ref op, Rdi, Step<T>(cpu));
            return true;
        }
    }

    private readonly partial struct Load : IString
    {
        public static bool Compares => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryOne<T>(Vcpu cpu, ref Op op) where T : unmanaged
        {
            if (!TrySource<T>(cpu, ref op, out var value)) return false;
            cpu.SetReg(Rax, value);
            Advance(cpu, ref op, Rsi, Step<T>(cpu));
            return true;
        }
    }

    private readonly partial struct Compare : IString
    {
        public static bool Compares => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryOne<T>(Vcpu cpu, ref Op op) where T : unmanaged
        {
            // ES:RDI comes first, as processors do it, when both would fault.
            if (!TryTarget<T>(cpu, ref op, out var b) || !TrySource<T>(cpu, ref op, out var a)) return false;
            var step = Step<T>(cpu);
            Advance(cpu, ref op, Rsi, step);
            Advance(cpu, ref op, Rdi, step);
            cpu.S.SetSub(a, b, Width.Sub(a, b));
            return true;
        }
    }

    private readonly partial struct Scan : IString
    {
        public static bool Compares => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryOne<T>(Vcpu cpu, ref Op op) where T : unmanaged
        {
            if (!TryTarget<T>(cpu, ref op, out var b)) return false;
            var a = cpu.Reg<T>(Rax);
            Advance(cpu, ref op, Rdi, Step<T>(cpu));
            cpu.S.SetSub(a, b, Width.Sub(a, b));
            return true;
        }
    }
}
