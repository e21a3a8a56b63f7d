using Vmm.Devices.Boards.Acpi;

namespace Vmm.Devices.Tests.Boards;

/// <summary>Byte code compared with the encodings of ACPI 6.5, 20.2.</summary>
public class AmlWriterTests
{
    [Theory]
    [InlineData(0ul, "0858585858 00")]
    [InlineData(1ul, "0858585858 01")]
    [InlineData(0xFFul, "0858585858 0AFF")]
    [InlineData(0x1234ul, "0858585858 0B3412")]
    [InlineData(0x12345678ul, "0858585858 0C78563412")]
    [InlineData(0x123456789ul, "0858585858 0E8967452301000000")]
    public void Name_OfANumber_TakesTheShortestForm(ulong value, string expected) => Same(expected, aml => aml.Name("XXXX", value));

    [Fact]
    public void NameId_OfAnEisaId_IsCompressed() => Same("085F484944 0C41D00501", aml => aml.NameId("_HID", "PNP0501"));

    [Theory]
    [InlineData("LNRO0005")]
    [InlineData("PNPXYZW")]
    [InlineData("pnp0501")]
    public void NameId_OfAnotherId_IsAString(string id) =>
        Same("085F484944 0D" + Convert.ToHexString(System.Text.Encoding.ASCII.GetBytes(id)) + "00", aml => aml.NameId("_HID", id));

    [Fact]
    public void NamePackage_OfNumbers_CountsThem() => Same("085F53355F 12 07 04 0A05 01 00 00", aml => aml.NamePackage("_S5", 5, 1, 0, 0));

    [Fact]
    public void Device_WithResources_IsABufferWithAnEndTag() =>
        Same("5B82 18 434F4D31 085F435253 110D 0A0A 4701F803F8030108 7900", aml => aml.Device("COM1", d => d.Resources(r => r.Io(0x3F8, 8))));

    [Fact]
    public void Scope_OfDottedPath_HasAPrefix() => Same("10 0B 5C2E5F53425F50434930", aml => aml.Scope("\\_SB.PCI0", s => { }));

    [Theory]
    [InlineData(1, 1)]
    [InlineData(40, 1)]
    [InlineData(60, 2)]
    [InlineData(4000, 2)]
    [InlineData(5000, 3)]
    [InlineData(2_000_000, 4)]
    public void PkgLength_OfEachSize_CountsItself(int content, int lengthBytes)
    {
        var aml = new AmlWriter();
        aml.Scope("_SB", s => s.Name("TEXT", new string('x', content)));
        var bytes = aml.ToArray();
        var extra = bytes[1] >> 6;
        Assert.Equal(lengthBytes, extra + 1);
        var length = extra == 0 ? bytes[1] & 0x3F : bytes[1] & 0xF;
        for (var i = 0; i < extra; i++) length |= bytes[2 + i] << (4 + 8 * i);
        Assert.Equal(bytes.Length - 1, length);
    }

    private static void Same(string expected, Action<AmlWriter> write)
    {
        var aml = new AmlWriter();
        write(aml);
        Assert.Equal(expected.Replace(" ", "", StringComparison.Ordinal), Convert.ToHexString(aml.ToArray()));
    }
}
