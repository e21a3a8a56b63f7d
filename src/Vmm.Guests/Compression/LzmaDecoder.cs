// LZMA: the LZMA SDK's lzma-specification.txt. Used only inside LZMA2 chunks.
namespace Vmm.Guests.Compression;

/// <summary>The LZMA symbol decoder: probabilities, state and the last four distances, kept from chunk to chunk.</summary>
internal sealed class LzmaDecoder
{
    private const int States = 12, PositionStates = 16, FirstAfterLiteral = 7;
    private const int LiteralCoderSize = 0x300, AlignBits = 4, FirstModelled = 4, LastModelled = 14;
    private const int MinimumMatch = 2, LengthSlots = 4;

    private readonly ushort[] _isMatch = new ushort[States * PositionStates];
    private readonly ushort[] _isRep = new ushort[States];
    private readonly ushort[] _isRepG0 = new ushort[States];
    private readonly ushort[] _isRepG1 = new ushort[States];
    private readonly ushort[] _isRepG2 = new ushort[States];
    private readonly ushort[] _isRep0Long = new ushort[States * PositionStates];
    private readonly ushort[] _slot = new ushort[LengthSlots * 64];
    private readonly ushort[] _special = new ushort[1 + 128 - LastModelled];
    private readonly ushort[] _align = new ushort[1 << AlignBits];
    private readonly LengthCoder _matchLength = new(), _repLength = new();
    private readonly ushort[] _literal = new ushort[LiteralCoderSize << 4];
    private int _literalContext, _literalPositionMask, _positionMask, _state;
    private uint _rep0, _rep1, _rep2, _rep3;

    /// <summary>Sets lc, lp and pb from their packed byte.</summary>
    /// <returns>False if the byte is not one LZMA2 allows.</returns>
    public bool TrySetProperties(byte packed)
    {
        if (packed >= 9 * 5 * 5)
            return false;
        int lc = packed % 9, lp = packed / 9 % 5, pb = packed / 45;
        if (lc + lp > 4)
            return false;
        _literalContext = lc;
        _literalPositionMask = (1 << lp) - 1;
        _positionMask = (1 << pb) - 1;
        return true;
    }

    /// <summary>Forgets all that was learnt.</summary>
    public void ResetState()
    {
        foreach (ushort[] table in (ReadOnlySpan<ushort[]>)[_isMatch, _isRep, _isRepG0, _isRepG1, _isRepG2, _isRep0Long, _slot, _special, _align, _literal])
            Array.Fill(table, RangeDecoder.Half);
        _matchLength.Reset();
        _repLength.Reset();
        _state = 0;
        _rep0 = _rep1 = _rep2 = _rep3 = 0;
    }

    /// <summary>Decodes one chunk.</summary>
    /// <param name="range">The chunk's compressed bytes.</param>
    /// <param name="buffer">All output since the last dictionary reset, with room for the chunk up to its end.</param>
    /// <param name="at">Where the chunk begins in it.</param>
    /// <param name="dictionary">Most bytes a match may reach back.</param>
    /// <returns>Null, or what is wrong.</returns>
    public string? Decode(ref RangeDecoder range, Span<byte> buffer, int at, uint dictionary)
    {
        while (at < buffer.Length)
        {
            int positionState = at & _positionMask;
            if (range.Bit(ref _isMatch[_state * PositionStates + positionState]) == 0)
            {
                DecodeLiteral(ref range, buffer, at++);
                continue;
            }
            int length;
            if (range.Bit(ref _isRep[_state]) == 0)
            {
                (_rep3, _rep2, _rep1) = (_rep2, _rep1, _rep0);
                length = _matchLength.Decode(ref range, positionState);
                _state = _state < FirstAfterLiteral ? 7 : 10;
                _rep0 = DecodeDistance(ref range, length);
                if (_rep0 == uint.MaxValue)
                    return "an end mark is inside a chunk";
            }
            else
            {
                if (at == 0)
                    return "a repeated match comes before any data";
                length = DecodeRepeat(ref range, positionState);
            }
            length += MinimumMatch;
            if (_rep0 >= (uint)at || _rep0 >= dictionary)
                return $"a match reaches {_rep0 + 1L} bytes back where {at} exist and the dictionary has {dictionary}";
            if (length > buffer.Length - at)
                return "a match passes the end of its chunk";
            if (range.Exhausted)
                return "a chunk's compressed data is cut short";
            Copy(buffer, at, (int)_rep0 + 1, length);
            at += length;
        }
        range.Normalise();
        return range.Exhausted ? "a chunk's compressed data is cut short" : range.Finished ? null : "a chunk's compressed data does not end where it should";
    }

    private static void Copy(Span<byte> buffer, int to, int distance, int length)
    {
        if (distance >= length)
        {
            buffer.Slice(to - distance, length).CopyTo(buffer[to..]);
            return;
        }
        for (int i = 0; i < length; i++)
            buffer[to + i] = buffer[to + i - distance];
    }

    private void DecodeLiteral(ref RangeDecoder range, Span<byte> buffer, int at)
    {
        int previous = at > 0 ? buffer[at - 1] : 0;
        int context = ((at & _literalPositionMask) << _literalContext) + (previous >> (8 - _literalContext));
        Span<ushort> coder = _literal.AsSpan(LiteralCoderSize * context, LiteralCoderSize);
        uint symbol = 1;
        // After a match the byte it would have continued with is a hint; a chunk's first match can lie before this dictionary.
        if (_state >= FirstAfterLiteral && _rep0 < (uint)at)
        {
            uint match = (uint)buffer[at - (int)_rep0 - 1] << 1, offset = 0x100;
            while (symbol < 0x100)
            {
                uint matchBit = match & offset;
                match <<= 1;
                uint bit = range.Bit(ref coder[(int)(offset + matchBit + symbol)]);
                symbol = (symbol << 1) | bit;
                offset &= bit != 0 ? matchBit : ~matchBit;
            }
        }
        else
        {
            while (symbol < 0x100)
                symbol = (symbol << 1) | range.Bit(ref coder[(int)symbol]);
        }
        buffer[at] = (byte)symbol;
        _state = _state < 4 ? 0 : _state < 10 ? _state - 3 : _state - 6;
    }

    private int DecodeRepeat(ref RangeDecoder range, int positionState)
    {
        if (range.Bit(ref _isRepG0[_state]) == 0)
        {
            if (range.Bit(ref _isRep0Long[_state * PositionStates + positionState]) == 0)
            {
                _state = _state < FirstAfterLiteral ? 9 : 11;
                return 1 - MinimumMatch;
            }
        }
        else if (range.Bit(ref _isRepG1[_state]) == 0)
        {
            (_rep0, _rep1) = (_rep1, _rep0);
        }
        else if (range.Bit(ref _isRepG2[_state]) == 0)
        {
            (_rep0, _rep1, _rep2) = (_rep2, _rep0, _rep1);
        }
        else
        {
            (_rep0, _rep1, _rep2, _rep3) = (_rep3, _rep0, _rep1, _rep2);
        }
        _state = _state < FirstAfterLiteral ? 8 : 11;
        return _repLength.Decode(ref range, positionState);
    }

    private uint DecodeDistance(ref RangeDecoder range, int length)
    {
        uint slot = range.Tree(_slot.AsSpan(Math.Min(length, LengthSlots - 1) * 64, 64), 6);
        if (slot < FirstModelled)
            return slot;
        int bits = (int)(slot >> 1) - 1;
        uint distance = (2 | (slot & 1)) << bits;
        if (slot < LastModelled)
            return distance + range.ReverseTree(_special.AsSpan((int)(distance - slot)), bits);
        distance += range.Direct(bits - AlignBits) << AlignBits;
        return distance + range.ReverseTree(_align, AlignBits);
    }

    private sealed class LengthCoder
    {
        private readonly ushort[] _choice = new ushort[2], _low = new ushort[PositionStates * 8], _middle = new ushort[PositionStates * 8], _high = new ushort[256];

        public void Reset()
        {
            Array.Fill(_choice, RangeDecoder.Half);
            Array.Fill(_low, RangeDecoder.Half);
            Array.Fill(_middle, RangeDecoder.Half);
            Array.Fill(_high, RangeDecoder.Half);
        }

        public int Decode(ref RangeDecoder range, int positionState)
        {
            if (range.Bit(ref _choice[0]) == 0)
                return (int)range.Tree(_low.AsSpan(positionState * 8, 8), 3);
            if (range.Bit(ref _choice[1]) == 0)
                return 8 + (int)range.Tree(_middle.AsSpan(positionState * 8, 8), 3);
            return 16 + (int)range.Tree(_high, 8);
        }
    }
}
