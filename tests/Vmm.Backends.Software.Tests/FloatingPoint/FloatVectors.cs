using Vmm.Backends.Software.FloatingPoint;

namespace Vmm.Backends.Software.Tests.FloatingPoint;

/// <summary>Operands with the hard cases over-represented; reproducible from the seed.</summary>
internal sealed class FloatVectors(int seed)
{
    private readonly Random _random = new(seed);

    public uint NextBits(int bits) => (uint)_random.NextInt64(1L << bits);

    public ulong Next64() => (ulong)_random.NextInt64() << 1 ^ (ulong)_random.NextInt64();

    public bool OneIn(int n) => _random.Next(n) == 0;

    /// <summary>Significand-like patterns: random, few bits, runs of ones, near ties of 24 and 53 bits.</summary>
    public ulong Pattern() => _random.Next(8) switch
    {
        0 => 0,
        1 => ulong.MaxValue,
        2 => 1UL << _random.Next(64),
        3 => ulong.MaxValue << _random.Next(64),
        4 => ulong.MaxValue >> _random.Next(64),
        5 => 1UL << _random.Next(64) | 1UL << _random.Next(64) | (OneIn(2) ? 1UL : 0),
        _ => Next64(),
    };

    public Float80 NextFloat80()
    {
        var sign = OneIn(2) ? 0x8000u : 0;
        var significand = Pattern();
        var biased = _random.Next(16) switch
        {
            0 => 0u,
            1 => 0x7FFFu,
            2 => (uint)_random.Next(0, 70),
            3 => 0x7FFFu - (uint)_random.Next(0, 70),
            4 => 0x3FFFu - 1023 + (uint)_random.Next(-60, 10),
            5 => 0x3FFFu - 127 + (uint)_random.Next(-30, 10),
            6 => 0x3FFFu + (uint)_random.Next(120, 132),
            7 => 0x3FFFu + (uint)_random.Next(1015, 1030),
            8 => NextBits(15),
            _ => 0x3FFFu + (uint)_random.Next(-66, 70),
        };
        if (biased != 0 && !OneIn(30))
        {
            significand |= Float80.IntegerBit;
        }
        if (biased == 0 && OneIn(2))
        {
            significand &= ~Float80.IntegerBit;
        }
        return new((ushort)(sign | biased), significand);
    }

    public ulong Next<TFormat>() where TFormat : struct, IBinaryFormat
    {
        var sign = OneIn(2) ? TFormat.SignMask : 0;
        var fraction = Pattern() >> (64 - TFormat.FractionBits);
        fraction = OneIn(2) ? fraction : Pattern() & TFormat.FractionMask;
        var max = TFormat.MaxBiased;
        var biased = _random.Next(12) switch
        {
            0 => 0,
            1 => max,
            2 => _random.Next(0, Math.Min(max, TFormat.FractionBits + 4)),
            3 => max - _random.Next(1, 4),
            4 => _random.Next(0, max),
            5 => TFormat.Bias / 2 + _random.Next(-TFormat.FractionBits, TFormat.FractionBits),
            _ => TFormat.Bias + _random.Next(-TFormat.FractionBits - 3, TFormat.FractionBits + 4),
        };
        return sign | (ulong)Math.Clamp(biased, 0, max) << TFormat.FractionBits | fraction;
    }

    /// <summary>An x87 control word: all masked mostly, all roundings and precisions.</summary>
    public uint NextControl() => (OneIn(3) ? NextBits(6) : 0x3Fu) | 0x40 | NextBits(2) << 10 | (OneIn(3) ? OneIn(2) ? 0x200u : 0 : 0x300);

    /// <summary>An MXCSR without flags: all masked mostly, all roundings, sometimes DAZ and FTZ.</summary>
    public uint NextMxcsr() =>
        (OneIn(4) ? NextBits(6) << 7 : 0x1F80u) | NextBits(2) << 13 | (OneIn(4) ? Mxcsr.DenormalsAreZeros : 0) | (OneIn(4) ? Mxcsr.FlushToZero : 0);
}
