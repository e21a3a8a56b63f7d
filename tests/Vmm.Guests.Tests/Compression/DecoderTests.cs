using FsCheck.Xunit;
using Vmm.Guests.Compression;

namespace Vmm.Guests.Tests.Compression;

/// <summary>Our decoders against the real tools' output, and against damaged input.</summary>
public class DecoderTests
{
    private const int Limit = 64 << 20;

    public enum Content { Empty, One, Text, Code, Random, Zeros, Long }

    public static TheoryData<Content, string> XzCases()
    {
        string[] options =
        [
            "-0", "-6", "-9e", "--check=none", "--check=crc32", "--check=crc64", "--check=sha256", "--block-size=5000",
            "--x86 --lzma2", "--x86=start=4096 --lzma2=dict=64KiB", "--lzma2=lc=0,lp=4,pb=0", "--lzma2=lc=4,lp=0,pb=4", "--lzma2=mode=fast,mf=hc3,nice=3",
        ];
        var cases = new TheoryData<Content, string>();
        foreach (string option in options)
        {
            foreach (Content content in Enum.GetValues<Content>())
            {
                if (content != Content.Long || option is "-0" or "--x86 --lzma2")
                    cases.Add(content, option);
            }
        }
        return cases;
    }

    [Theory]
    [MemberData(nameof(XzCases))]
    public void Xz_MadeByXz_ComesBack(Content content, string options)
    {
        byte[] bytes = Make(content);
        byte[] packed = HostTool.Run("xz", ["-c", "--format=xz", "-T1", .. options.Split(' ')], bytes);
        Assert.Equal(bytes, UnpackXz(packed, Limit));
    }

    [Fact]
    public void Xz_StreamsWithPadding_AreJoined()
    {
        byte[] one = HostTool.Run("xz", ["-c"], Make(Content.Text)), two = HostTool.Run("xz", ["-c"], Make(Content.Random));
        Assert.Equal([.. Make(Content.Text), .. Make(Content.Random)], UnpackXz([.. one, 0, 0, 0, 0, .. two], Limit));
        Assert.Throws<DecompressionException>(() => UnpackXz([.. one, 0, 0, 0, .. two], Limit));
    }

    [Theory]
    [InlineData(Content.One)]
    [InlineData(Content.Text)]
    [InlineData(Content.Code)]
    [InlineData(Content.Random)]
    [InlineData(Content.Zeros)]
    [InlineData(Content.Long)]
    public void Lz4_MadeByLz4_ComesBack(Content content)
    {
        byte[] bytes = Make(content);
        foreach (string level in content == Content.Long ? (string[])["-1"] : ["-1", "-9", "-12"])
            Assert.Equal(bytes, UnpackLz4(HostTool.Run("lz4", ["-l", level, "-c"], bytes), Limit));
    }

    [Fact]
    public void Bombs_StopAtTheLimit()
    {
        byte[] zeros = new byte[10 << 20];
        byte[] xz = HostTool.Run("xz", ["-c", "-1"], zeros), lz4 = HostTool.Run("lz4", ["-l", "-c"], zeros);
        Assert.Contains("more than the 1000000 bytes", Assert.Throws<DecompressionException>(() => UnpackXz(xz, 1_000_000)).Message);
        Assert.Contains("more than the 1000000 bytes", Assert.Throws<DecompressionException>(() => UnpackLz4(lz4, 1_000_000)).Message);
        Assert.Equal(zeros.Length, UnpackXz(xz, zeros.Length).Length);
        Assert.Equal(zeros.Length, UnpackLz4(lz4, zeros.Length).Length);
    }

    [Fact]
    public void Xz_UnknownFilter_IsNamed()
    {
        byte[] packed = HostTool.Run("xz", ["-c", "--delta=dist=4", "--lzma2"], Make(Content.Text));
        Assert.Contains("filter 0x3", Assert.Throws<DecompressionException>(() => UnpackXz(packed, Limit)).Message);
    }

    [Fact]
    public void Xz_CutShortAnywhere_Fails()
    {
        byte[] packed = HostTool.Run("xz", ["-c", "--block-size=900"], Make(Content.Text)[..2000]);
        for (int length = 0; length < packed.Length; length++)
            Assert.Throws<DecompressionException>(() => UnpackXz(packed[..length], Limit));
    }

    [Property(MaxTest = 400)]
    public void Xz_OneByteChanged_IsNeverTakenForGood(int seed)
    {
        byte[] bytes = Make(Content.Text)[..3000];
        byte[] packed = XzOfText.Value;
        byte[] damaged = [.. packed];
        var random = new Random(seed);
        damaged[random.Next(damaged.Length)] ^= (byte)random.Next(1, 256);
        Assert.Throws<DecompressionException>(() => UnpackXz(damaged, Limit));
        Assert.Equal(bytes, UnpackXz(packed, Limit));
    }

    // No container checksum in front: the chunk and symbol decoders themselves meet the noise.
    [Property(MaxTest = 2000)]
    public void Lzma2_Noise_EndsInTheTypedErrorOrData(int seed)
    {
        var random = new Random(seed);
        byte[] noise = new byte[random.Next(1, 400)];
        random.NextBytes(noise);
        noise[0] = (byte)(random.Next(3) == 0 ? 1 : 0xE0);
        if (noise.Length > 7 && noise[0] == 0xE0)
        {
            noise[3] = 0;
            noise[5] = (byte)random.Next(60);
            noise[6] = 0;
        }
        var output = new BoundedOutput(0, 1 << 20);
        try
        {
            Lzma2Decoder.Decode(noise, 0, 1 << 16, output);
        }
        catch (DecompressionException)
        {
            // Expected.
        }
        Assert.InRange(output.Length, 0, 1 << 20);
    }

    [Property(MaxTest = 2000)]
    public void Lz4_Damaged_EndsInTheTypedErrorOrData(int seed)
    {
        byte[] damaged = [.. Lz4OfText.Value];
        var random = new Random(seed);
        for (int i = random.Next(1, 6); i > 0; i--)
            damaged[random.Next(4, damaged.Length)] = (byte)random.Next(256);
        try
        {
            Assert.InRange(UnpackLz4(damaged[..random.Next(4, damaged.Length + 1)], 1 << 20).Length, 0, 1 << 20);
        }
        catch (DecompressionException)
        {
            // Expected.
        }
    }

    [Theory]
    [InlineData("02214C18 01000000", "0 are left")]
    [InlineData("02214C18 00000000", "claims 0 bytes")]
    [InlineData("02214C18 FFFFFFFF 00", "claims 4294967295")]
    [InlineData("02214C18 0100", "cut short")]
    [InlineData("02214C18 01000000 F0", "length is cut short")]
    [InlineData("02214C18 02000000 2041", "literal bytes are announced")]
    [InlineData("02214C18 04000000 10410000", "reaches 0 bytes back")]
    [InlineData("02214C18 04000000 10410200", "reaches 2 bytes back")]
    [InlineData("02214C18 04000000 10410100", "end with literals")]
    [InlineData("03214C18 01000000 00", "magic")]
    public void Lz4_Malformed_IsToldPrecisely(string hex, string reason) =>
        Assert.Contains(reason, Assert.Throws<DecompressionException>(() => UnpackLz4(Convert.FromHexString(hex.Replace(" ", "")), Limit)).Message);

    [Fact]
    public void Checksums_OfTheCheckString_AreThePublishedOnes()
    {
        Assert.Equal(0xCBF43926u, Checksums.Crc32("123456789"u8));
        Assert.Equal(0x995DC9BBDF1939FAul, Checksums.Crc64("123456789"u8));
    }

    private static readonly Lazy<byte[]> XzOfText = new(() => HostTool.Run("xz", ["-c", "--block-size=1100"], Make(Content.Text)[..3000]));
    private static readonly Lazy<byte[]> Lz4OfText = new(() => HostTool.Run("lz4", ["-l", "-c"], Make(Content.Text)));

    private static byte[] UnpackXz(byte[] packed, int limit)
    {
        var output = new BoundedOutput(0, limit);
        XzDecoder.Decode(packed, output);
        return output.ToArray();
    }

    private static byte[] UnpackLz4(byte[] packed, int limit)
    {
        var output = new BoundedOutput(0, limit);
        Lz4LegacyDecoder.Decode(packed, output);
        return output.ToArray();
    }

    private static readonly Lazy<byte[]>[] Contents = [.. Enum.GetValues<Content>().Select(c => new Lazy<byte[]>(() => Create(c)))];

    private static byte[] Make(Content content) => Contents[(int)content].Value;

    private static byte[] Create(Content content)
    {
        var random = new Random(5);
        byte[] noise = new byte[30_000];
        random.NextBytes(noise);
        // Real machine code, with CALL and JMP.
        ReadOnlySpan<byte> code = File.ReadAllBytes(typeof(object).Assembly.Location);
        switch (content)
        {
            case Content.Empty:
                return [];
            case Content.One:
                return [42];
            case Content.Text:
                return [.. Enumerable.Range(0, 4000).SelectMany(i => BitConverter.GetBytes((ushort)(i * i % 977 * (i % 13))))];
            case Content.Code:
                // And noise thick with their opcodes and with sign bytes.
                return [.. code.Slice(1_000_000, 300_000), .. noise.Select(b => b < 90 ? (byte)(0xE8 | (b & 1)) : b < 170 ? (byte)-(b & 1) : b)];
            case Content.Random:
                return noise;
            case Content.Zeros:
                return new byte[100_000];
            default:
                // More than one LZ4 block and many LZMA2 chunks, cheap to pack.
                byte[] bytes = new byte[9 << 20];
                for (int at = 0; at < bytes.Length; at += 100_000)
                    code.Slice(at % 400_000 + at / 1000, Math.Min(100_000, bytes.Length - at)).CopyTo(bytes.AsSpan(at));
                return bytes;
        }
    }
}
