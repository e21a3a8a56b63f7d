using System.Text;
using Vmm.Guests.Cpio;

namespace Vmm.Guests.Tests.Cpio;

public class CpioWriterTests
{
    private static byte[] Write(Action<CpioWriter> fill, DateTimeOffset? modified = null)
    {
        var memory = new MemoryStream();
        using (var writer = new CpioWriter(memory, modified))
            fill(writer);
        return memory.ToArray();
    }

    [Fact]
    public void Archive_OneFile_HasTheBytesOfTheFormat()
    {
        string expected =
            "070701" + "00000001" + "000081A4" + "00000000" + "00000000" + "00000001" + "00000000" + "00000003"
            + "00000000" + "00000000" + "00000000" + "00000000" + "00000002" + "00000000" + "a\0" + "xyz\0"
            + "070701" + "00000000" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000"
            + "00000000" + "00000000" + "00000000" + "00000000" + "0000000B" + "00000000" + "TRAILER!!!\0\0\0\0";
        Assert.Equal(expected, Encoding.ASCII.GetString(Write(w => w.AddFile("a", "xyz"u8))));
    }

    [Fact]
    public void Archive_Empty_IsOnlyTheTrailer() => Assert.Empty(KernelCpioReader.Read(Write(_ => { })));

    [Fact]
    public void Parents_NotNamed_AreCreatedOnceAndFirst()
    {
        var entries = KernelCpioReader.Read(Write(w =>
        {
            w.AddFile("/a/b/c", default);
            w.AddFile("a/b/d", default);
        }));
        Assert.Equal(["a", "a/b", "a/b/c", "a/b/d"], entries.Select(e => e.Name));
        Assert.Equal(0x41EDu, entries[1].Mode);
        Assert.Equal([1u, 2u, 3u, 4u], entries.Select(e => e.Inode));
    }

    [Fact]
    public void Parents_ImpliedThenNamed_GetTheNamedMode()
    {
        var entries = KernelCpioReader.Read(Write(w =>
        {
            w.AddFile("a/b", default);
            w.AddDirectory("a", UnixFileMode.UserRead);
        }));
        Assert.Equal(0x4100u, entries.Last(e => e.Name == "a").Mode);
    }

    [Fact]
    public void Devices_KeepTypeModeAndNumbers()
    {
        var entries = KernelCpioReader.Read(Write(w =>
        {
            w.AddCharacterDevice("c", 5, 1);
            w.AddBlockDevice("b", 4095, 1048575, UnixFileMode.OtherRead);
            w.AddNamedPipe("p");
        }));
        Assert.Equal((0x2180u, 5u, 1u), (entries[0].Mode, entries[0].Major, entries[0].Minor));
        Assert.Equal((0x6004u, 4095u, 1048575u), (entries[1].Mode, entries[1].Major, entries[1].Minor));
        Assert.Equal(0x11A4u, entries[2].Mode);
    }

    [Fact]
    public void Times_GivenAndDefault_AreUnixSeconds()
    {
        var entries = KernelCpioReader.Read(Write(
            w =>
            {
                w.AddFile("a", default);
                w.AddFile("b", default, modified: DateTimeOffset.FromUnixTimeSeconds(uint.MaxValue));
            }, DateTimeOffset.FromUnixTimeSeconds(77)));
        Assert.Equal([77u, uint.MaxValue], entries.Select(e => e.Time));
    }

    [Theory]
    [InlineData("/bin//sh", "bin/sh")]
    [InlineData("./a/./b/", "a/b")]
    [InlineData("ä/☃", "ä/☃")]
    [InlineData("a b\\c", "a b\\c")]
    public void Names_OddlySpelled_AreNormalised(string given, string kept) =>
        Assert.Equal(kept, KernelCpioReader.Read(Write(w => w.AddFile(given, default)))[^1].Name);

    [Theory]
    [InlineData("", "cannot be empty")]
    [InlineData("/", "root")]
    [InlineData("a\0b", "NUL")]
    [InlineData("../etc/passwd", "\"..\"")]
    [InlineData("a/../../b", "\"..\"")]
    [InlineData("TRAILER!!!", "end mark")]
    public void Names_Bad_AreRefusedWithTheReason(string name, string reason)
    {
        var error = Assert.ThrowsAny<ArgumentException>(() => Write(w => w.AddFile(name, default)));
        Assert.Contains(reason, error.Message);
    }

    // Not inline: an attribute's string is stored as UTF-8, which has no such character.
    [Fact]
    public void Name_WithAnUnpairedSurrogate_IsRefused() =>
        Assert.Contains("surrogate", Assert.Throws<ArgumentException>(() => Write(w => w.AddFile("a" + (char)0xD800, default))).Message);

    [Fact]
    public void Names_AtTheLimits_AreTakenAndBeyondRefused()
    {
        string part = new('x', 255);
        string longest = string.Join('/', Enumerable.Repeat(part, 15)) + "/" + new string('y', 255);
        Assert.Equal(4095, longest.Length);
        Assert.Equal(longest, KernelCpioReader.Read(Write(w => w.AddFile(longest, default)))[^1].Name);
        Assert.Contains("at most 4095", Assert.Throws<ArgumentException>(() => Write(w => w.AddFile(longest + "/z", default))).Message);
        Assert.Contains("at most 255", Assert.Throws<ArgumentException>(() => Write(w => w.AddFile(part + "x", default))).Message);
        Assert.Contains("at most 4095", Assert.Throws<ArgumentException>(() => Write(w => w.AddSymlink("l", new string('t', 4096)))).Message);
    }

    [Fact]
    public void Entries_InConflict_AreRefusedAndLeaveTheArchiveWhole()
    {
        var entries = KernelCpioReader.Read(Write(w =>
        {
            w.AddFile("a", "1"u8);
            w.AddSymlink("l", "a");
            Assert.Contains("already added", Assert.Throws<ArgumentException>(() => w.AddFile("/a", default)).Message);
            Assert.Contains("not a directory", Assert.Throws<ArgumentException>(() => w.AddFile("a/b", default)).Message);
            Assert.Contains("not a directory", Assert.Throws<ArgumentException>(() => w.AddFile("l/x/b", default)).Message);
            Assert.Contains("not a directory", Assert.Throws<ArgumentException>(() => w.AddDirectory("a")).Message);
        }));
        Assert.Equal(["a", "l"], entries.Select(e => e.Name));
    }

    [Fact]
    public void Numbers_OutOfRange_AreRefused()
    {
        using var writer = new CpioWriter(Stream.Null);
        Assert.Contains("4 GiB", Assert.Throws<ArgumentOutOfRangeException>(() => writer.AddFile("a", Stream.Null, 1L << 32)).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => writer.AddFile("a", Stream.Null, -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => writer.AddFile("a", default, (UnixFileMode)0x81A4));
        Assert.Throws<ArgumentOutOfRangeException>(() => writer.AddCharacterDevice("a", 4096, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => writer.AddBlockDevice("a", 0, -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => writer.AddFile("a", default, modified: DateTimeOffset.UnixEpoch.AddSeconds(-1)));
        Assert.Throws<ArgumentOutOfRangeException>(() => writer.AddFile("a", default, modified: DateTimeOffset.FromUnixTimeSeconds(1L << 32)));
        writer.AddFile("a", default);
    }

    [Fact]
    public void Content_EndingEarly_ThrowsAndClosesTheArchive()
    {
        using var writer = new CpioWriter(new MemoryStream());
        Assert.Throws<EndOfStreamException>(() => writer.AddFile("a", new MemoryStream(new byte[5]), 6));
        Assert.Throws<InvalidOperationException>(() => writer.AddFile("b", default));
    }

    [Fact]
    public void Archive_Finished_TakesNothingMore()
    {
        using var writer = new CpioWriter(new MemoryStream());
        writer.Finish();
        long length = writer.Length;
        writer.Finish();
        Assert.Equal(length, writer.Length);
        Assert.Throws<InvalidOperationException>(() => writer.AddFile("b", default));
    }

    [Fact]
    public void Archives_Appended_AreReadInOrder()
    {
        byte[] other = Write(w => w.AddFile("a", "second"u8));
        var entries = KernelCpioReader.Read(Write(w =>
        {
            w.AddFile("a", "first"u8);
            w.AppendArchive(other);
            w.AddFile("a", "third"u8);
        }));
        Assert.Equal(["first", "second", "third"], entries.Select(e => e.Text));
        Assert.Equal(other, Write(w => w.AppendArchive(other)));
    }
}
