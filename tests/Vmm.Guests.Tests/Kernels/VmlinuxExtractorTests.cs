using System.Text;
using FsCheck.Xunit;
using Vmm.Core.Errors;
using Vmm.Guests.Kernels;

namespace Vmm.Guests.Tests.Kernels;

public class VmlinuxExtractorTests
{
    [Fact]
    public async Task DebianKernel_Extracted_IsAnElfThatReadelfAccepts()
    {
        GuestKernel kernel = await RealGuests.KernelAsync();
        byte[] image = await File.ReadAllBytesAsync(kernel.Path);
        TestContext.Current.SendDiagnosticMessage($"{kernel}, packed by {VmlinuxExtractor.Detect(image)}");
        byte[] vmlinux = VmlinuxExtractor.Extract(image, kernel.Path);
        Assert.InRange(vmlinux.Length, 20 << 20, 200 << 20);
        Assert.True(vmlinux.AsSpan().IndexOf("Linux version "u8) > 0);
        using var scratch = new Scratch();
        string text = Encoding.ASCII.GetString(HostTool.Run("readelf", ["-hlW", scratch.Write("vmlinux", vmlinux)]));
        Assert.Contains("ELF64", text);
        Assert.Contains("X86-64", text);
        Assert.Contains("Entry point address:               0x1000000", text);
        Assert.Contains("NOTE", text);
    }

    [Theory]
    [InlineData(KernelCompression.None)]
    [InlineData(KernelCompression.Gzip)]
    [InlineData(KernelCompression.Lz4)]
    [InlineData(KernelCompression.Xz)]
    public void Kernel_PackedAsLinuxDoes_ComesBack(KernelCompression format)
    {
        byte[] elf = TestKernel.Elf();
        byte[] image = TestKernel.BzImage(Pack(elf, format));
        Assert.Equal(format, VmlinuxExtractor.Detect(image));
        byte[] extracted = VmlinuxExtractor.Extract(image);
        Assert.Equal(elf, extracted);
    }

    [Fact]
    public void SetupSectors_Zero_MeansFour() =>
        Assert.Equal(TestKernel.Elf(), VmlinuxExtractor.Extract(TestKernel.BzImage(TestKernel.Gzip(TestKernel.Elf()), setupSectors: 0)));

    [Fact]
    public void Elf_Given_IsReturnedAsItIs() => Assert.Equal(TestKernel.Elf(), VmlinuxExtractor.Extract(TestKernel.Elf()));

    [Theory]
    [InlineData("28B52FFD", "zstd")]
    [InlineData("425A6839", "bzip2")]
    [InlineData("5D000000", "lzma")]
    [InlineData("894C5A4F", "lzo")]
    [InlineData("DEADBEEF", "DEADBEEF")]
    public void Kernel_PackedOtherwise_IsRefusedByName(string magic, string name)
    {
        var error = Assert.Throws<BootImageException>(() => VmlinuxExtractor.Extract(TestKernel.BzImage([.. Convert.FromHexString(magic), .. new byte[100]]), "my-kernel"));
        Assert.Contains(name, error.Message);
        Assert.Equal("my-kernel", error.Image);
    }

    [Fact]
    public void Header_Lying_IsRefused()
    {
        byte[] good = TestKernel.BzImage(TestKernel.Gzip(TestKernel.Elf()));
        Refused(good, i => i[0x202] = 0, "HdrS");
        Refused(good, i => i[0x206] = 7, "2.07");
        Refused(good, i => i.AsSpan(0x248, 4).Fill(0xFF), "cut short");
        Refused(good, i => i.AsSpan(0x24C, 4).Fill(0xFF), "cut short");
        Refused(good, i => i.AsSpan(0x248, 8).Fill(0xFF), "cut short");
        Refused(good, i => i.AsSpan(0x24C, 4).Clear(), "cut short");
        Refused(good, i => i[0x1F1] = 255, "cut short");
        Assert.Throws<BootImageException>(() => VmlinuxExtractor.Extract(good.AsSpan(0, 0x220)));
        Assert.Throws<BootImageException>(() => VmlinuxExtractor.Extract(default));
    }

    [Theory]
    [InlineData(KernelCompression.Gzip)]
    [InlineData(KernelCompression.Lz4)]
    [InlineData(KernelCompression.Xz)]
    public void Size_AnnouncedWrong_IsRefused(KernelCompression format)
    {
        byte[] payload = Pack(TestKernel.Elf(), format);
        payload[^4] ^= 1;
        Assert.Throws<BootImageException>(() => VmlinuxExtractor.Extract(TestKernel.BzImage(payload)));
    }

    [Theory]
    [InlineData(KernelCompression.None)]
    [InlineData(KernelCompression.Gzip)]
    [InlineData(KernelCompression.Lz4)]
    [InlineData(KernelCompression.Xz)]
    public void Bomb_HonestOrNot_StopsAtTheLimit(KernelCompression format)
    {
        byte[] elf = TestKernel.Elf(500_000), payload = Pack(elf, format);
        byte[] honest = TestKernel.BzImage(payload);
        Assert.Contains("allowed", Assert.Throws<BootImageException>(() => VmlinuxExtractor.Extract(honest, maximumSize: 499_999)).Message);
        Assert.Equal(elf.Length, VmlinuxExtractor.Extract(honest, maximumSize: elf.Length).Length);
        if (format == KernelCompression.None)
            return;
        BitConverter.GetBytes(1000).CopyTo(payload, payload.Length - 4);
        Assert.Throws<BootImageException>(() => VmlinuxExtractor.Extract(TestKernel.BzImage(payload), maximumSize: 100_000));
    }

    [Fact]
    public void Elf_Bad_IsRefused()
    {
        byte[] elf = TestKernel.Elf();
        Refused(elf, e => e[4] = 1, "64-bit");
        Refused(elf, e => e[18] = 183, "x86-64");
        Refused(elf, e => e[39] = 0x80, "program headers");
        Refused(elf, e => e[56] = 0, "program headers");
        Refused(elf, e => e[54] = 55, "program headers");
        Refused(elf, e => e[57] = 0xFF, "program headers");
        Refused(elf, e => e.AsSpan(64 + 8, 8).Fill(0xFF), "segment 0");
        Refused(elf, e => e.AsSpan(64 + 32, 8).Fill(0xFF), "segment 0");
        Assert.Throws<BootImageException>(() => VmlinuxExtractor.Extract(elf.AsSpan(0, 63)));
        Assert.Contains("not an ELF", Assert.Throws<BootImageException>(() => VmlinuxExtractor.Extract(TestKernel.BzImage(TestKernel.Gzip(new byte[1000])))).Message);
    }

    [Property(MaxTest = 1500)]
    public void Image_RandomlyDamaged_GivesTheTypedErrorOrAnElf(int seed)
    {
        var random = new Random(seed);
        byte[] image = [.. Images.Value[random.Next(3)]];
        for (int i = random.Next(1, 5); i > 0; i--)
            image[random.Next(2) == 0 ? random.Next(0x1F0, 0x250) : random.Next(image.Length)] = (byte)random.Next(256);
        if (random.Next(4) == 0)
            image = image[..random.Next(image.Length)];
        try
        {
            Assert.True(VmlinuxExtractor.IsElf(VmlinuxExtractor.Extract(image, maximumSize: 1 << 20)));
        }
        catch (BootImageException)
        {
            // Expected.
        }
    }

    private static readonly Lazy<byte[][]> Images = new(() =>
        [.. new[] { KernelCompression.Gzip, KernelCompression.Lz4, KernelCompression.Xz }.Select(f => TestKernel.BzImage(Pack(TestKernel.Elf(), f)))]);

    private static void Refused(byte[] good, Action<byte[]> change, string reason)
    {
        byte[] bad = [.. good];
        change(bad);
        Assert.Contains(reason, Assert.Throws<BootImageException>(() => VmlinuxExtractor.Extract(bad)).Message);
    }

    // As Linux's scripts/Makefile.lib does: every format but gzip, which has it, gets the size appended.
    private static byte[] Pack(byte[] elf, KernelCompression format) => format switch
    {
        KernelCompression.Gzip => TestKernel.Gzip(elf),
        KernelCompression.Lz4 => TestKernel.WithSize(HostTool.Run("lz4", ["-l", "-c"], elf), elf.Length),
        KernelCompression.Xz => TestKernel.WithSize(HostTool.Run("xz", ["-c", "--check=crc32", "--x86", "--lzma2=dict=32MiB"], elf), elf.Length),
        _ => elf,
    };
}
