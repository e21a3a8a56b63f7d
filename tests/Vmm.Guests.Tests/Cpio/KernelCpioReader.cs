// How Linux reads it: init/initramfs.c. Written for tests only.
using System.Globalization;
using System.Text;

namespace Vmm.Guests.Tests.Cpio;

/// <summary>Reads one or several concatenated newc archives the way the kernel does.</summary>
public static class KernelCpioReader
{
    public sealed record Entry(string Name, uint Inode, uint Mode, uint Links, uint Time, uint Major, uint Minor, byte[] Content)
    {
        public uint Type => Mode & 0xF000;

        public string Text => Encoding.UTF8.GetString(Content);
    }

    public static List<Entry> Read(byte[] archive)
    {
        var entries = new List<Entry>();
        int at = 0, trailers = 0;
        while (at < archive.Length)
        {
            if (archive[at] == 0)
            {
                at++;
                continue;
            }
            Assert.Equal(0, at & 3);
            Assert.Equal("070701", Encoding.ASCII.GetString(archive, at, 6));
            uint[] f = [.. Enumerable.Range(0, 13).Select(i => uint.Parse(Encoding.ASCII.GetString(archive, at + 6 + 8 * i, 8), NumberStyles.AllowHexSpecifier))];
            int nameSize = (int)f[11], size = (int)f[6];
            Assert.InRange(nameSize, 2, 4096);
            string name = Encoding.UTF8.GetString(archive, at + 110, nameSize - 1);
            Assert.Equal(0, archive[at + 110 + nameSize - 1]);
            at = (at + 110 + nameSize + 3) & ~3;
            if (name == "TRAILER!!!")
            {
                trailers++;
                continue;
            }
            entries.Add(new Entry(name, f[0], f[1], f[4], f[5], f[9], f[10], archive[at..(at + size)]));
            at = (at + size + 3) & ~3;
        }
        Assert.InRange(trailers, 1, int.MaxValue);
        Assert.Equal(archive.Length, at);
        return entries;
    }
}
