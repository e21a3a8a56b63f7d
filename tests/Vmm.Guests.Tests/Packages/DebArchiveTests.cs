using FsCheck.Xunit;
using Vmm.Guests.Packages;

namespace Vmm.Guests.Tests.Packages;

public class DebArchiveTests
{
    [Theory]
    [InlineData("data.tar")]
    [InlineData("data.tar.gz")]
    public void Package_Unpacked_HasItsFiles(string member)
    {
        using var scratch = new Scratch();
        Unpack(scratch, TestPackage.Deb(member, ("./bin/busybox", [1, 2, 3]), ("./etc/x", [])));
        Assert.Equal([1, 2, 3], File.ReadAllBytes(scratch.At("out", "bin", "busybox")));
        Assert.True(File.Exists(scratch.At("out", "etc", "x")));
    }

    [Theory]
    [InlineData("../evil")]
    [InlineData("a/../../evil")]
    public void Entry_OutsideThePackage_IsRefused(string name)
    {
        using var scratch = new Scratch();
        Assert.Contains("outside", Assert.Throws<InvalidDataException>(() => Unpack(scratch, TestPackage.Deb("data.tar", (name, [1])))).Message);
        Assert.False(File.Exists(scratch.At("evil")));
    }

    [Fact]
    public void Entry_Absolute_StaysInside()
    {
        using var scratch = new Scratch();
        Unpack(scratch, TestPackage.Deb("data.tar", ("/bin/x", [1])));
        Assert.True(File.Exists(scratch.At("out", "bin", "x")));
    }

    [Theory]
    [InlineData("data.tar.zst", "install dpkg")]
    [InlineData("other", "no data.tar")]
    public void Package_NotUnpackable_SaysWhy(string member, string reason)
    {
        using var scratch = new Scratch();
        Assert.Contains(reason, Assert.Throws<InvalidDataException>(() => Unpack(scratch, TestPackage.Deb(member))).Message);
    }

    [Property(MaxTest = 300)]
    public void Package_Damaged_GivesATypedErrorOrFilesInside(int seed)
    {
        var random = new Random(seed);
        using var scratch = new Scratch();
        byte[] deb = TestPackage.Deb(random.Next(2) == 0 ? "data.tar" : "data.tar.gz", ("./a", new byte[700]), ("./b/c", [1]));
        for (int i = random.Next(1, 6); i > 0; i--)
            deb[random.Next(deb.Length)] = (byte)random.Next(256);
        try
        {
            Unpack(scratch, deb[..(random.Next(3) == 0 ? random.Next(deb.Length) : deb.Length)]);
        }
        catch (InvalidDataException)
        {
            // Expected.
        }
        Assert.True(Directory.GetFileSystemEntries(scratch.Path).All(e => Path.GetFileName(e) is "p.deb" or "out"));
    }

    private static void Unpack(Scratch scratch, byte[] deb) => DebArchive.Unpack(scratch.Write("p.deb", deb), scratch.At("out"), default);
}
