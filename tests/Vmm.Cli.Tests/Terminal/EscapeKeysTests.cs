using System.Buffers;
using FsCheck.Xunit;
using Vmm.Cli.Terminal;

namespace Vmm.Cli.Tests.Terminal;

public class EscapeKeysTests
{
    [Theory]
    [InlineData("abc", "abc", "None")]
    [InlineData("a\x01\x01z", "a\x01z", "None")]
    [InlineData("a\x01xz", "a", "Leave")]
    [InlineData("a\x01\x18", "a", "Leave")]
    [InlineData("\x01hz", "z", "Help")]
    [InlineData("\x01?", "", "Help")]
    [InlineData("\x01kz", "z", "None")]
    [InlineData("\x01", "", "None")]
    [InlineData("\x01\x01x", "\x01x", "None")]
    public void Keys_Typed_GoToGuestOrVmm(string typed, string guest, string request)
    {
        var keys = new EscapeKeys();
        var sent = new ArrayBufferWriter<byte>();
        Assert.Equal(request, keys.Filter(Bytes(typed), sent).ToString());
        Assert.Equal(Bytes(guest), sent.WrittenSpan.ToArray());
    }

    [Property]
    public bool Keys_InPieces_AreAsInOne(byte[] typed, byte cut)
    {
        // Few values, so that Ctrl-A and what follows it are often there; x would end it.
        var bytes = Array.ConvertAll(typed, b => (byte)(b % 3 == 0 ? 1 : b % 3 == 1 ? 'h' : 'a'));
        var at = bytes.Length == 0 ? 0 : cut % (bytes.Length + 1);
        ArrayBufferWriter<byte> whole = new(), pieces = new();
        new EscapeKeys().Filter(bytes, whole);
        var keys = new EscapeKeys();
        keys.Filter(bytes.AsSpan(0, at), pieces);
        keys.Filter(bytes.AsSpan(at), pieces);
        return whole.WrittenSpan.SequenceEqual(pieces.WrittenSpan);
    }

    private static byte[] Bytes(string text) => System.Text.Encoding.Latin1.GetBytes(text);
}
