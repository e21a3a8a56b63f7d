using System.IO.Compression;
using System.Text;
using Vmm.Guests.Tests.Cpio;

namespace Vmm.Guests.Tests;

public class InitramfsTests
{
    [Fact]
    public void Builder_IsImmutable_AndABaseCanBeShared()
    {
        Initramfs shared = Initramfs.Create().AddFile("a", "1");
        Initramfs more = shared.AddFile("b", "2");
        Assert.Equal((1, 2), (shared.Count, more.Count));
        Assert.Single(KernelCpioReader.Read(shared.Build()));
    }

    [Fact]
    public void Output_SameContentInAnotherOrder_IsTheSame()
    {
        byte[] one = Initramfs.Create().AddFile("b/x", "1").AddSymlink("a", "b").AddDirectory("b").Build();
        byte[] two = Initramfs.Create().AddDirectory("/b/").AddSymlink("a", "b").AddFile("/b/x", "1").Build();
        Assert.Equal(one, two);
    }

    [Fact]
    public void Name_AddedAgain_Replaces()
    {
        var entries = KernelCpioReader.Read(Initramfs.Create().AddFile("/init", "1").WithInit("echo 2").Build());
        Assert.Equal("#!/bin/sh\necho 2", Assert.Single(entries).Text);
        Assert.Equal(0x81EDu, entries[0].Mode);
    }

    [Fact]
    public void Init_WithWindowsLineEnds_GetsUnixOnes() =>
        Assert.Equal("#!/bin/ash\na\n", KernelCpioReader.Read(Initramfs.Create().WithInit("#!/bin/ash\r\na\r\n").Build())[0].Text);

    [Fact]
    public void File_AsAParent_IsRefused()
    {
        Initramfs bad = Initramfs.Create().AddFile("a", "1").AddFile("a/b", "2");
        Assert.Contains("not a directory", Assert.Throws<ArgumentException>(() => bad.Build()).Message);
    }

    [Fact]
    public void Name_WithDots_IsRefusedAtOnce() => Assert.Throws<ArgumentException>(() => Initramfs.Create().AddFile("../x", "1"));

    [Fact]
    public void HostFile_Missing_IsRefusedWithBothNames()
    {
        var error = Assert.Throws<FileNotFoundException>(() => Initramfs.Create().AddFileFrom("bin/tool", "/nowhere/tool"));
        Assert.Contains("/nowhere/tool", error.Message);
        Assert.Contains("bin/tool", error.Message);
    }

    [Fact]
    public void HostFile_KeepsContentAndMode()
    {
        using var scratch = new Scratch();
        string file = scratch.Write("f", [1, 2, 3]);
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        var entry = KernelCpioReader.Read(Initramfs.Create().AddFileFrom("f", file).Build())[0];
        Assert.Equal([1, 2, 3], entry.Content);
        Assert.Equal(OperatingSystem.IsWindows() ? 0x81A4u : 0x8140u, entry.Mode);
    }

    [Fact]
    public void Gzip_Unpacked_IsThePlainArchive()
    {
        Initramfs initramfs = Initramfs.Create().AddFile("a", new byte[10_000]);
        byte[] packed = initramfs.Build(InitramfsCompression.Gzip);
        var plain = new MemoryStream();
        new GZipStream(new MemoryStream(packed), CompressionMode.Decompress).CopyTo(plain);
        Assert.Equal(initramfs.Build(), plain.ToArray());
        Assert.True(packed.Length < plain.Length / 10);
    }

    [Fact]
    public void Stream_WrittenTo_StaysOpen()
    {
        var stream = new MemoryStream();
        Initramfs.Create().AddFile("a", "1").WriteTo(stream);
        stream.WriteByte(0);
    }

    [Fact]
    public void Archive_Appended_FollowsOnAMultipleOfFour()
    {
        byte[] packed = Initramfs.Create().AddFile("z", "26").Build(InitramfsCompression.Gzip);
        byte[] both = Initramfs.Create().AddFile("a", "1").AppendArchive(packed).Build();
        int at = both.AsSpan().IndexOf(packed);
        Assert.True(at > 0 && at % 4 == 0);
    }

    [Fact]
    public void Busybox_Added_BringsShellAndConsole()
    {
        using var scratch = new Scratch();
        var entries = KernelCpioReader.Read(Initramfs.Create().AddBusybox(scratch.Write("bb", [7])).Build()).ToDictionary(e => e.Name);
        Assert.Equal(0x81EDu, entries["bin/busybox"].Mode);
        Assert.Equal("busybox", Encoding.UTF8.GetString(entries["bin/sh"].Content));
        Assert.Equal((0x2180u, 5u, 1u), (entries["dev/console"].Mode, entries["dev/console"].Major, entries["dev/console"].Minor));
        Assert.Equal(0x43FFu, entries["tmp"].Mode);
    }
}
