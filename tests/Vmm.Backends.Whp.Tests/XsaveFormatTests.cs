using System.Buffers.Binary;

namespace Vmm.Backends.Whp.Tests;

public class XsaveFormatTests
{
    [Theory]
    [InlineData(3UL)]
    [InlineData(7UL)]
    [InlineData(0x207UL)]
    public void CompactedAndBack_KeepsTheComponentsOfXcr0(ulong xcr0)
    {
        var standard = new byte[4096];
        new Random(1).NextBytes(standard.AsSpan(0, 512));
        BinaryPrimitives.WriteUInt64LittleEndian(standard.AsSpan(512), xcr0);
        if ((xcr0 & 4) != 0) new Random(2).NextBytes(standard.AsSpan(576, 256));
        if ((xcr0 & 0x200) != 0) new Random(3).NextBytes(standard.AsSpan(2688, 8));
        byte[] compacted = new byte[8192], back = new byte[4096];

        var size = XsaveFormat.ToCompacted(standard, xcr0, compacted);
        XsaveFormat.ToStandard(compacted.AsSpan(0, size), back);

        Assert.True(XsaveFormat.IsCompacted(compacted));
        Assert.Equal(576 + ((xcr0 & 4) != 0 ? 256 : 0) + ((xcr0 & 0x200) != 0 ? 8 : 0), size);
        Assert.Equal(standard, back);
    }

    [Fact]
    public void ToStandard_OfAStandardArea_IsTheSame()
    {
        var standard = new byte[4096];
        BinaryPrimitives.WriteUInt64LittleEndian(standard.AsSpan(512), 7);
        new Random(4).NextBytes(standard.AsSpan(576, 256));
        var back = new byte[4096];

        XsaveFormat.ToStandard(standard, back);

        Assert.Equal(standard, back);
    }
}
