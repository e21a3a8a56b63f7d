using System.Numerics;
using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>BT, BTS, BTR, BTC, BSF, BSR, TZCNT, LZCNT, POPCNT and CRC32.</summary>
internal static partial class BitOps
{
    /// <summary>What becomes of the bit that was tested.</summary>
    private interface IChange
    {
        /// <summary>False for BT.</summary>
        static abstract bool Writes { get; }

        static abstract T Run<T>(T a, T bit) where T : unmanaged;
    }

    private readonly struct Keep : IChange
    {
        public static bool Writes => false;

        public static T Run<T>(T a, T bit) where T : unmanaged => a;
    }

    private readonly struct Set : IChange
    {
        public static bool Writes => true;

        public static T Run<T>(T a, T bit) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) | Width.Zero(bit));
    }

    private readonly struct Clear : IChange
    {
        public static bool Writes => true;

        public static T Run<T>(T a, T bit) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) & ~Width.Zero(bit));
    }

    private readonly struct Flip : IChange
    {
        public static bool Writes => true;

        public static T Run<T>(T a, T bit) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) ^ Width.Zero(bit));
    }

    private static ref Op TestRegReg<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IChange where T : unmanaged
    {
        Register<TOp, T>(cpu, ref op, (int)Width.Zero(cpu.Reg<T>(op.B)) & (Width.Bits<T>() - 1));
        return ref cpu.Chain(ref op);
    }

    private static ref Op TestRegImm<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IChange where T : unmanaged
    {
        Register<TOp, T>(cpu, ref op, (int)op.Imm & (Width.Bits<T>() - 1));
        return ref cpu.Chain(ref op);
    }

    private static ref Op TestMemImm<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IChange where T : unmanaged
    {
        if (!TryMemory<TOp, T>(cpu, ref op, (int)op.Imm & (Width.Bits<T>() - 1))) return ref cpu.Fault(ref op);
        return ref cpu.Chain(ref op);
    }

    /// <summary>A register as bit offset reaches over all of memory, backwards too: the operand is the word the bit is in.</summary>
    private static ref Op TestMemReg<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IChange where T : unmanaged
    {
        var offset = (long)Width.Sign(cpu.Reg<T>(op.A));
        var far = op;
        far.Disp += (ulong)(offset >> BitOperations.Log2((uint)Width.Bits<T>())) * (uint)Unsafe.SizeOf<T>();
        if (!TryMemory<TOp, T>(cpu, ref far, (int)offset & (Width.Bits<T>() - 1))) return ref cpu.Fault(ref op);
        return ref cpu.Chain(ref op);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Register<TOp, T>(Vcpu cpu, ref Op op, int bit) where TOp : struct, IChange where T : unmanaged
    {
        var a = cpu.Reg<T>(op.A);
        if (TOp.Writes) cpu.SetReg(op.A, TOp.Run(a, Width.Narrow<T>(1UL << bit)));
        SetCarry(ref cpu.S, Width.Zero(a) >> bit);
    }

    private static bool TryMemory<TOp, T>(Vcpu cpu, ref Op op, int bit) where TOp : struct, IChange where T : unmanaged
    {
        T a;
        if (TOp.Writes)
        {
            Cell cell;
            do
            {
                if (!cpu.TryBeginUpdate(ref op, out a, out cell)) return false;
            }
            while (!cpu.EndUpdate(ref op, cell, a, TOp.Run(a, Width.Narrow<T>(1UL << bit))));
        }
        else if (!cpu.TryLoad(ref op, out a))
        {
            return false;
        }

        SetCarry(ref cpu.S, Width.Zero(a) >> bit);
        return true;
    }

    /// <summary>CF from bit 0; the other flags stay.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetCarry(ref CpuState s, ulong carry)
    {
        var change = ((carry << 63) ^ s.FlagsAux) & (1UL << 63);
        // OF is the xor of both top bits, so both flip together.
        s.FlagsAux ^= change | (change >> 1);
    }

    /// <summary>What a scan or count computes from its operand, flags included.</summary>
    private interface IScan
    {
        /// <summary>BSF and BSR leave the destination alone when the operand is zero.</summary>
        static abstract bool KeepsOnZero { get; }

        static abstract T Run<T>(ref CpuState s, T a) where T : unmanaged;
    }

    private readonly struct ScanForward : IScan
    {
        public static bool KeepsOnZero => true;

        public static T Run<T>(ref CpuState s, T a) where T : unmanaged
        {
            SetZero(ref s, Width.Zero(a) == 0);
            return Width.Narrow<T>((ulong)BitOperations.TrailingZeroCount(Width.Zero(a)));
        }
    }

    private readonly struct ScanReverse : IScan
    {
        public static bool KeepsOnZero => true;

        public static T Run<T>(ref CpuState s, T a) where T : unmanaged
        {
            SetZero(ref s, Width.Zero(a) == 0);
            return Width.Narrow<T>((ulong)BitOperations.Log2(Width.Zero(a)));
        }
    }

    private readonly struct TrailingZeros : IScan
    {
        public static bool KeepsOnZero => false;

        public static T Run<T>(ref CpuState s, T a) where T : unmanaged
        {
            var zero = Width.Zero(a) == 0;
            var count = zero ? Width.Bits<T>() : BitOperations.TrailingZeroCount(Width.Zero(a));
            SetCarryZero(ref s, zero, count == 0);
            return Width.Narrow<T>((ulong)count);
        }
    }

    private readonly struct LeadingZeros : IScan
    {
        public static bool KeepsOnZero => false;

        public static T Run<T>(ref CpuState s, T a) where T : unmanaged
        {
            var count = BitOperations.LeadingZeroCount(Width.Zero(a)) - (64 - Width.Bits<T>());
            SetCarryZero(ref s, Width.Zero(a) == 0, count == 0);
            return Width.Narrow<T>((ulong)count);
        }
    }

    private readonly struct Population : IScan
    {
        public static bool KeepsOnZero => false;

        public static T Run<T>(ref CpuState s, T a) where T : unmanaged
        {
            s.SetArithmetic(Width.Zero(a) == 0 ? Flags.ZF : 0);
            return Width.Narrow<T>((ulong)BitOperations.PopCount(Width.Zero(a)));
        }
    }

    private static ref Op ScanReg<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IScan where T : unmanaged
    {
        var a = cpu.Reg<T>(op.B);
        var r = TOp.Run(ref cpu.S, a);
        if (!TOp.KeepsOnZero || Width.Zero(a) != 0) cpu.SetReg(op.A, r);
        return ref cpu.Chain(ref op);
    }

    private static ref Op ScanMem<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IScan where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var a)) return ref cpu.Fault(ref op);
        var r = TOp.Run(ref cpu.S, a);
        if (!TOp.KeepsOnZero || Width.Zero(a) != 0) cpu.SetReg(op.A, r);
        return ref Vcpu.Next(ref op);
    }

    // The manuals leave the other flags undefined; AMD processors leave them as they were.
    private static void SetZero(ref CpuState s, bool zero) => s.SetArithmetic((s.Arithmetic & ~Flags.ZF) | (zero ? Flags.ZF : 0));

    private static void SetCarryZero(ref CpuState s, bool carry, bool zero) =>
        s.SetArithmetic((s.Arithmetic & ~(Flags.ZF | Flags.CF)) | (zero ? Flags.ZF : 0) | (carry ? Flags.CF : 0));

    private static ref Op CrcReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        Crc(cpu, ref op, cpu.Reg<T>(op.B));
        return ref cpu.Chain(ref op);
    }

    private static ref Op CrcMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var data)) return ref cpu.Fault(ref op);
        Crc(cpu, ref op, data);
        return ref Vcpu.Next(ref op);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Crc<T>(Vcpu cpu, ref Op op, T data) where T : unmanaged
    {
        var crc = cpu.Reg<uint>(op.A);
        cpu.Reg<ulong>(op.A) = Unsafe.SizeOf<T>() switch
        {
            1 => BitOperations.Crc32C(crc, (byte)Width.Zero(data)),
            2 => BitOperations.Crc32C(crc, (ushort)Width.Zero(data)),
            4 => BitOperations.Crc32C(crc, (uint)Width.Zero(data)),
            _ => BitOperations.Crc32C(crc, Width.Zero(data)),
        };
    }
}
