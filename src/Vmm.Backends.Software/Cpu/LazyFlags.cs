using System.Numerics;
using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Interpret;

namespace Vmm.Backends.Software.Cpu;

/// <summary>
/// The six arithmetic flags, computed when asked for. Two words hold them whatever the operation was:
/// <see cref="CpuState.FlagsResult"/> is the result, sign-extended to 64 bits; <see cref="CpuState.FlagsAux"/> has the carry
/// out of each interesting bit: CF in 63, carry into the sign bit in 62 (OF = 63 xor 62), AF in 3, and two corrections that
/// matter only when flags were loaded rather than computed: bit 0 inverts SF, byte 1 is xored into the byte PF is taken of.
/// </summary>
internal static class LazyFlags
{
    private const ulong Top = 0xC000_0000_0000_0000;

    extension(ref CpuState s)
    {
        public bool CF
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            get => (long)s.FlagsAux < 0;
            set
            {
                // OF is the xor of both top bits, so both flip together.
                if (value != s.CF) s.FlagsAux ^= Top;
            }
        }

        public bool ZF
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            get => s.FlagsResult == 0;
            set => s.SetArithmetic((s.Arithmetic & ~Flags.ZF) | (value ? Flags.ZF : 0));
        }

        public bool SF
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            get => (((s.FlagsResult >> 63) ^ s.FlagsAux) & 1) != 0;
        }

        public bool OF
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            get => (long)(s.FlagsAux ^ (s.FlagsAux << 1)) < 0;
            set
            {
                if (value != s.OF) s.FlagsAux ^= 1UL << 62;
            }
        }

        public bool AF
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            get => (s.FlagsAux & 8) != 0;
        }

        public bool PF
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            get => (BitOperations.PopCount((byte)(s.FlagsResult ^ (s.FlagsAux >> 8))) & 1) == 0;
        }

        /// <summary>The six flags at their places in RFLAGS.</summary>
        public ulong Arithmetic =>
            (s.CF ? Flags.CF : 0) | (s.PF ? Flags.PF : 0) | (s.AF ? Flags.AF : 0) | (s.ZF ? Flags.ZF : 0) | (s.SF ? Flags.SF : 0) | (s.OF ? Flags.OF : 0);

        /// <summary>All of RFLAGS.</summary>
        public ulong Rflags => s.SystemFlags | s.Arithmetic;

        /// <summary>Loads the six flags from their places in RFLAGS; other bits are ignored.</summary>
        public void SetArithmetic(ulong flags)
        {
            var cf = flags & 1;
            var zf = (flags >> 6) & 1;
            s.FlagsResult = zf ^ 1;
            s.FlagsAux = (cf << 63) | ((cf ^ ((flags >> 11) & 1)) << 62) | ((zf ^ ((flags >> 2) & 1)) << 8) | ((flags & Flags.AF) >> 1) | ((flags >> 7) & 1);
        }

        /// <summary>Flags of <c>r = a + b (+ carry)</c>.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void SetAdd<T>(T a, T b, T r) where T : unmanaged
        {
            var (x, y, z) = (Width.Zero(a), Width.Zero(b), Width.Zero(r));
            s.FlagsResult = Width.Sign(r);
            s.FlagsAux = Carries<T>((x & y) | ((x | y) & ~z));
        }

        /// <summary>Flags of <c>r = a - b (- borrow)</c>.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void SetSub<T>(T a, T b, T r) where T : unmanaged
        {
            var (x, y, z) = (Width.Zero(a), Width.Zero(b), Width.Zero(r));
            s.FlagsResult = Width.Sign(r);
            s.FlagsAux = Carries<T>((~x & y) | ((~x | y) & z));
        }

        /// <summary>Flags of a logical result: CF, OF and AF are clear.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void SetLogic<T>(T r) where T : unmanaged
        {
            s.FlagsResult = Width.Sign(r);
            s.FlagsAux = 0;
        }

        /// <summary>Result flags as of <paramref name="r"/>, with CF, OF and AF given.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void SetResult<T>(T r, bool cf, bool of, bool af = false) where T : unmanaged
        {
            s.FlagsResult = Width.Sign(r);
            s.FlagsAux = (cf ? Top : 0) ^ (of ? 1UL << 62 : 0) | (af ? 8UL : 0);
        }

        /// <summary>Flags of <c>r = a + 1</c>: CF stays.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void SetInc<T>(T a, T r) where T : unmanaged
        {
            s.FlagsResult = Width.Sign(r);
            s.FlagsAux = KeepCarry(s.FlagsAux, Carries<T>((Width.Zero(a) & 1) | ((Width.Zero(a) | 1) & ~Width.Zero(r))));
        }

        /// <summary>Flags of <c>r = a - 1</c>: CF stays.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void SetDec<T>(T a, T r) where T : unmanaged
        {
            s.FlagsResult = Width.Sign(r);
            s.FlagsAux = KeepCarry(s.FlagsAux, Carries<T>((~Width.Zero(a) & 1) | ((~Width.Zero(a) | 1) & Width.Zero(r))));
        }

        /// <summary>Whether condition 0 to 15 of Jcc, SETcc and CMOVcc holds.</summary>
        public bool Condition(int code) => ((code >> 1) switch
        {
            0 => s.OF,
            1 => s.CF,
            2 => s.ZF,
            3 => s.CF || s.ZF,
            4 => s.SF,
            5 => s.PF,
            6 => s.SF != s.OF,
            _ => s.ZF || s.SF != s.OF,
        }) != ((code & 1) != 0);
    }

    /// <summary>The auxiliary word with CF as it was before; OF stays that of the operation.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong KeepCarry(ulong before, ulong after)
    {
        var change = (after ^ before) & (1UL << 63);
        return after ^ change ^ (change >> 1);
    }

    /// <summary>The auxiliary word of an operation with these carries out of each bit; one mask if they are in place already.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Carries<T>(ulong c) where T : unmanaged =>
        Unsafe.SizeOf<T>() == 8 ? c & (Top | 8) : (c & 8) | ((c << (64 - Width.Bits<T>())) & Top);
}
