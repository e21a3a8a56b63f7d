// The range coder of LZMA: the LZMA SDK's lzma-specification.txt, "Range Coder".
using System.Buffers.Binary;

namespace Vmm.Guests.Compression;

/// <summary>Reads bits of learnt probability from one LZMA2 chunk. Past the chunk's end it reads zeros and says so.</summary>
internal ref struct RangeDecoder
{
    /// <summary>The probability 1/2, of 11 bits.</summary>
    public const ushort Half = 1 << 10;

    private const int ModelBits = 11, MoveBits = 5, HeaderSize = 5;
    private const uint Top = 1 << 24;

    private readonly ReadOnlySpan<byte> _input;
    private int _at;
    private uint _range, _code;

    private RangeDecoder(ReadOnlySpan<byte> input)
    {
        _input = input;
        _at = HeaderSize;
        _range = uint.MaxValue;
        _code = BinaryPrimitives.ReadUInt32BigEndian(input[1..]);
    }

    /// <summary>More was read than the chunk has; what was decoded since is meaningless.</summary>
    public readonly bool Exhausted => _at > _input.Length;

    /// <summary>All input is used and the encoder's final state reached.</summary>
    public readonly bool Finished => _at == _input.Length && _code == 0;

    public static bool TryCreate(ReadOnlySpan<byte> input, out RangeDecoder decoder)
    {
        decoder = default;
        if (input.Length < HeaderSize || input[0] != 0)
            return false;
        decoder = new RangeDecoder(input);
        return true;
    }

    public void Normalise()
    {
        if (_range >= Top)
            return;
        _range <<= 8;
        _code = (_code << 8) | ((uint)_at < (uint)_input.Length ? _input[_at] : 0u);
        _at++;
    }

    public uint Bit(ref ushort probability)
    {
        Normalise();
        uint bound = (_range >> ModelBits) * probability;
        if (_code < bound)
        {
            _range = bound;
            probability += (ushort)(((1 << ModelBits) - probability) >> MoveBits);
            return 0;
        }
        _range -= bound;
        _code -= bound;
        probability -= (ushort)(probability >> MoveBits);
        return 1;
    }

    public uint Tree(Span<ushort> probabilities, int bits)
    {
        uint symbol = 1;
        for (int i = 0; i < bits; i++)
            symbol = (symbol << 1) | Bit(ref probabilities[(int)symbol]);
        return symbol - (1u << bits);
    }

    public uint ReverseTree(Span<ushort> probabilities, int bits)
    {
        uint symbol = 1, value = 0;
        for (int i = 0; i < bits; i++)
        {
            uint bit = Bit(ref probabilities[(int)symbol]);
            symbol = (symbol << 1) | bit;
            value |= bit << i;
        }
        return value;
    }

    public uint Direct(int bits)
    {
        uint value = 0;
        for (int i = 0; i < bits; i++)
        {
            Normalise();
            _range >>= 1;
            uint bit = _code >= _range ? 1u : 0u;
            _code -= _range & (0 - bit);
            value = (value << 1) | bit;
        }
        return value;
    }
}
