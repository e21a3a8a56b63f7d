using Iced.Intel;

namespace Vmm.Backends.Whp.Simulation;

/// <summary>Decodes one instruction at a time, without allocating.</summary>
internal sealed class SimulatedDecoder : CodeReader
{
    private readonly byte[] _bytes = new byte[16];
    private readonly Decoder _decoder16, _decoder32, _decoder64;
    private int _at, _count;

    public SimulatedDecoder() => (_decoder16, _decoder32, _decoder64) = (Decoder.Create(16, this), Decoder.Create(32, this), Decoder.Create(64, this));

    public Instruction Decode(int bitness, ulong ip, ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_bytes);
        (_at, _count) = (0, bytes.Length);
        var decoder = bitness switch { 16 => _decoder16, 32 => _decoder32, _ => _decoder64 };
        decoder.IP = ip;
        return decoder.Decode();
    }

    public override int ReadByte() => _at < _count ? _bytes[_at++] : -1;
}
