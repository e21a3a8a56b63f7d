using System.Formats.Tar;
using System.IO.Compression;
using System.Text;

namespace Vmm.Guests.Tests.Packages;

/// <summary>Debian packages put together by hand.</summary>
public static class TestPackage
{
    /// <summary>A package of some files, mode 755, its data packed as the member's name says.</summary>
    public static byte[] Deb(string member, params (string Name, byte[] Content)[] files)
    {
        var tar = new MemoryStream();
        using (var writer = new TarWriter(tar, TarEntryFormat.Gnu, leaveOpen: true))
        {
            foreach ((string name, byte[] content) in files)
                writer.WriteEntry(new GnuTarEntry(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(content), Mode = (UnixFileMode)0x1ED });
        }
        byte[] data = tar.ToArray();
        if (member == "data.tar.gz")
        {
            var packed = new MemoryStream();
            using (var gzip = new GZipStream(packed, CompressionLevel.Fastest))
                gzip.Write(data);
            data = packed.ToArray();
        }
        var deb = new MemoryStream();
        deb.Write("!<arch>\n"u8);
        Append(deb, "debian-binary", "2.0\n"u8);
        Append(deb, "control.tar", "odd"u8);
        Append(deb, member, data);
        return deb.ToArray();
    }

    private static void Append(MemoryStream deb, string name, ReadOnlySpan<byte> content)
    {
        deb.Write(Encoding.ASCII.GetBytes($"{name,-16}{0,-12}{0,-6}{0,-6}{"100644",-8}{content.Length,-10}`\n"));
        deb.Write(content);
        if (content.Length % 2 != 0)
            deb.WriteByte((byte)'\n');
    }
}
