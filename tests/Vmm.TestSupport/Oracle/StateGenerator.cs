using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>Makes starting states with biased values that suit an instruction form.</summary>
public static class StateGenerator
{
    private const ulong StatusFlags = 0x8D5, DirectionFlag = 0x400, AlwaysSet = 0x202;

    /// <summary>A whole random state for <paramref name="code"/>; addresses in it mean nothing yet.</summary>
    public static void Fill(ref OracleRandom random, Code code, ref OracleState state)
    {
        state = OracleState.PowerOn;
        for (int i = 0; i < 16; i++)
        {
            state.Gpr[i] = BiasedValues.Register(ref random);
        }

        state.Rflags = (random.Next() & StatusFlags) | AlwaysSet;
        if (random.Percent(20))
        {
            state.Rflags |= DirectionFlag;
        }

        CodeTraits traits = CodeTraits.Of(code);
        LaneKind hint = traits.Lanes;
        for (int i = 0; i < 16; i++)
        {
            state.Fpu.SetYmm(i, traits.UsesVectors ? Vector(ref random, hint) : Vector256.Create(random.Next()).AsByte());
        }

        if (traits.UsesVectors)
        {
            FillMxcsr(ref random, ref state.Fpu);
        }

        if (traits.UsesFpu)
        {
            FillX87(ref random, ref state.Fpu);
        }
    }

    /// <summary>A kind for one operand: mostly <paramref name="hint"/>, sometimes any.</summary>
    public static LaneKind AnyKind(ref OracleRandom random, LaneKind hint) =>
        hint != LaneKind.Random && random.Percent(65) ? hint : (LaneKind)random.Below((int)LaneKind.Uniform + 1);

    /// <summary>Random x87 state: mostly a full stack, sometimes empty registers; no exception pending unless masked.</summary>
    public static void FillX87(ref OracleRandom random, ref XsaveImage fpu)
    {
        ushort control = 0x037F;
        if (random.Percent(60))
        {
            control = (ushort)(0x007F | (random.Pick<int>([0, 2, 3, 3]) << 8) | (random.Below(4) << 10));
            if (random.Percent(15))
            {
                control &= (ushort)~(random.Below(64));
            }
        }

        fpu.Fcw = control;
        int status = (random.Below(8) << 11) | ((int)random.Next() & 0x4700);
        if (random.Percent(30))
        {
            int flags = random.Below(128) & (0x40 | (control & 0x3F));
            status |= (flags & 1) == 0 ? flags & ~0x40 : flags;
        }

        if (random.Percent(4))
        {
            // An exception is pending: bits ES and B go with an unmasked flag.
            int pending = 1 << random.Below(6);
            control &= (ushort)~pending;
            fpu.Fcw = control;
            status |= pending | 0x8080;
        }

        fpu.Fsw = (ushort)status;
        fpu.Ftw = random.Percent(65) ? (byte)0xFF : random.Percent(20) ? (byte)0 : (byte)random.Next();
        for (int i = 0; i < 8; i++)
        {
            (ushort signExponent, ulong mantissa) = BiasedValues.Extended(ref random);
            fpu.SetSt(i, signExponent, mantissa);
        }
    }

    /// <summary>A random MXCSR without reserved bits.</summary>
    public static void FillMxcsr(ref OracleRandom random, ref XsaveImage fpu)
    {
        uint mxcsr = 0x1F80;
        if (random.Percent(50))
        {
            mxcsr |= (uint)random.Below(4) << 13;
        }

        if (random.Percent(25))
        {
            mxcsr |= (uint)random.Next() & 0x8040;
        }

        if (random.Percent(20))
        {
            mxcsr |= (uint)random.Next() & 0x3F;
        }

        if (random.Percent(8))
        {
            mxcsr &= ~((uint)random.Next() & 0x1F80);
        }

        fpu.Mxcsr = mxcsr;
    }

    private static Vector256<byte> Vector(ref OracleRandom random, LaneKind hint)
    {
        Vector256<byte> value = default;
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<Vector256<byte>>(ref value));
        BiasedValues.Fill(ref random, AnyKind(ref random, hint), bytes[..16]);
        BiasedValues.Fill(ref random, AnyKind(ref random, hint), bytes[16..]);
        return value;
    }
}
