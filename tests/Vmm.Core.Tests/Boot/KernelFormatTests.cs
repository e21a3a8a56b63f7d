using System.Text;
using Vmm.Core.Boot;
using Xunit;

namespace Vmm.Core.Tests.Boot;

public sealed class KernelFormatTests
{
    [Fact]
    public void WithKernel_ChoosesTheProtocolByContents()
    {
        Assert.IsType<LinuxBoot>(Choose(new BzImageFixture().Bytes));
        Assert.IsType<LinuxBoot>(Choose(ElfFixture.Kernel(pvhEntry: 0x1000000).Build()));
        Assert.IsType<PvhBoot>(Choose(ElfFixture.Kernel(pvhEntry: 0x1000000).Build(), preferPvh: true));
        Assert.IsType<LinuxBoot>(Choose(ElfFixture.Kernel().Build(), preferPvh: true));
        Assert.IsType<PvhBoot>(Choose(ElfFixture.Kernel(is64Bit: false, pvhEntry: 0x1000000).Build()));
        Assert.IsType<MultibootBoot>(Choose(MultibootFixture.Elf()));
        Assert.IsType<MultibootBoot>(Choose(MultibootFixture.Raw()));
    }

    [Fact]
    public void WithKernel_OfAnEfiStubKernel_IsStillLinux()
    {
        var k = new BzImageFixture().U16(0, 0x5A4D); // "MZ"
        Assert.IsType<LinuxBoot>(Choose(k.Bytes));
    }

    [Theory]
    [InlineData("MZ", "PE file")]
    [InlineData("\u001f\u008b\u0008", "gzip")]
    [InlineData("\u0028\u00b5\u002f\u00fd", "zstd")]
    [InlineData("\u00fd7zXZ\0", "xz")]
    [InlineData("\u0002\u0021\u004c\u0018", "lz4")]
    [InlineData("BZh9", "bzip2")]
    [InlineData("\u0027\u0005\u0019\u0056", "uImage")]
    [InlineData("\u00d0\u000d\u00fe\u00ed", "device tree")]
    [InlineData("070701", "as the initrd")]
    [InlineData("QFI\u00fb", "qcow2")]
    [InlineData("hello world", "68656c6c6f20776f")]
    [InlineData("", "empty")]
    public void WithKernel_OfSomethingElse_SaysWhatWasFound(string start, string words)
    {
        var file = new byte[Math.Max(start.Length, start.Length == 0 ? 0 : 1024)];
        Encoding.Latin1.GetBytes(start, file);
        using var m = new BootMachine();
        m.Refuses(Choose(file), "my-kernel: offset 0", words);
    }

    [Fact]
    public void WithKernel_OfAnotherArchitecture_SaysWhich()
    {
        using var m = new BootMachine();
        var arm64 = new byte[64];
        "ARM\x64"u8.CopyTo(arm64.AsSpan(0x38));
        m.Refuses(Choose(arm64), "arm64 Image");
        var elf = ElfFixture.Kernel();
        elf.Machine = 183;
        m.Refuses(Choose(elf.Build()), "aarch64");
        var multiboot2 = new byte[64];
        ElfFixture.U32(multiboot2, 8, 0xE85250D6);
        m.Refuses(Choose(multiboot2), "Multiboot 2");
    }

    [Fact]
    public void WithKernel_WithPartsItsProtocolLacks_IsRefused()
    {
        using var m = new BootMachine();
        m.Refuses(new VirtualMachineBuilder().WithKernel(new BzImageFixture().Bytes, modules: [new("m", new byte[1])]).Loader!, "modules", "initrd");
        m.Refuses(new VirtualMachineBuilder().WithKernel(MultibootFixture.Elf(), initrd: new byte[1]).Loader!, "initrd", "module");
    }

    [Fact]
    public void Builder_HasAMethodForEachProtocol()
    {
        var b = new VirtualMachineBuilder();
        Assert.IsType<LinuxBoot>(b.WithLinux(default, "c", new byte[1]).Loader);
        Assert.IsType<PvhBoot>(b.WithPvh(default).Loader);
        Assert.Equal("m", Assert.Single(Assert.IsType<MultibootBoot>(b.WithMultiboot(default, "c", new BootModule("m", default)).Loader).Modules).Name);
        Assert.IsType<FirmwareBoot>(b.WithFirmware(default).Loader);
        Assert.Equal(ProgramMode.Real, Assert.IsType<ProgramBoot>(b.WithProgram(default, ProgramMode.Real, 0x7C00).Loader).Mode);
    }

    private static IBootLoader Choose(byte[] kernel, bool preferPvh = false) =>
        new VirtualMachineBuilder().WithKernel(kernel, preferPvh: preferPvh, name: "my-kernel").Loader!;
}
