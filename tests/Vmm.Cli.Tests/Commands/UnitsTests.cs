using Vmm.Cli.Commands;

namespace Vmm.Cli.Tests.Commands;

public class UnitsTests
{
    [Theory]
    [InlineData("256M", 256L << 20)]
    [InlineData("1g", 1L << 30)]
    [InlineData("64K", 64L << 10)]
    [InlineData("1.5GiB", 3L << 29)]
    [InlineData("2MB", 2L << 20)]
    [InlineData("1T", 1L << 40)]
    [InlineData("256", null)]
    [InlineData("M", null)]
    [InlineData("", null)]
    [InlineData("-1M", null)]
    [InlineData("1 M", null)]
    [InlineData("1,5G", null)]
    [InlineData("0.3K", null)]
    [InlineData("99999999999999999T", null)]
    public void Size_IsReadOrRefused(string text, long? bytes) => Assert.Equal((ulong?)bytes, Units.Size(text));

    [Theory]
    [InlineData("0xf4", 0xF4)]
    [InlineData("244", 244)]
    [InlineData("0XFFFF", 0xFFFF)]
    [InlineData("65536", null)]
    [InlineData("f4", null)]
    [InlineData("-1", null)]
    [InlineData("0x", null)]
    public void Port_IsReadOrRefused(string text, int? port) => Assert.Equal((ushort?)port, Units.Port(text));

    [Theory]
    [InlineData("file", "file", "")]
    [InlineData("file=", "file", "")]
    [InlineData("file=a b=c", "file", "a b=c")]
    public void Module_FileAndArguments_AreTold(string text, string path, string arguments) => Assert.Equal(new ModuleFile(path, arguments), ModuleFile.Parse(text));
}
