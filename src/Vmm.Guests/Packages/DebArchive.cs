// deb(5): an ar(5) archive of debian-binary, control.tar.* and data.tar.*.
using System.Buffers.Binary;
using System.Formats.Tar;
using System.Globalization;
using System.IO.Compression;
using System.Text;
using Vmm.Guests.Compression;

namespace Vmm.Guests.Packages;

/// <summary>Unpacks a Debian package by .NET alone: directories and regular files, which is all a guest needs of it.</summary>
internal static class DebArchive
{
    private const int ArHeaderSize = 60, MaximumUnpacked = 1 << 30;

    /// <summary>Unpacks the files of a package.</summary>
    /// <exception cref="InvalidDataException">The package is malformed, too big, or packed by zstd or bzip2.</exception>
    public static void Unpack(string package, string directory, CancellationToken cancellationToken)
    {
        byte[] bytes = File.ReadAllBytes(package);
        (string name, ReadOnlyMemory<byte> member) = DataMember(bytes);
        string kind = name["data.tar".Length..];
        using Stream tar = kind switch
        {
            "" => Memory(member.ToArray()),
            ".gz" => new GZipStream(Memory(member.ToArray()), CompressionMode.Decompress),
            ".xz" => Memory(Unxz(member.Span)),
            _ => throw new InvalidDataException($"{name} is packed in a way .NET has no decompressor for; install dpkg"),
        };
        try
        {
            UnpackTar(tar, Path.GetFullPath(directory) + Path.DirectorySeparatorChar, cancellationToken);
        }
        // What the tar reader throws for damaged headers, which are not all of one kind.
        catch (Exception e) when (e is EndOfStreamException or FormatException or ArgumentException or NotSupportedException or OverflowException)
        {
            throw new InvalidDataException($"{name} is damaged: {e.Message}", e);
        }
    }

    private static void UnpackTar(Stream tar, string root, CancellationToken cancellationToken)
    {
        using var reader = new TarReader(tar);
        long total = 0;
        while (reader.GetNextEntry() is { } entry)
        {
            cancellationToken.ThrowIfCancellationRequested();
            string target = Path.GetFullPath(Path.Combine(root, entry.Name.TrimStart('/')));
            if (!(target + Path.DirectorySeparatorChar).StartsWith(root, StringComparison.Ordinal))
                throw new InvalidDataException($"the entry \"{entry.Name}\" lies outside the package");
            if (entry.EntryType == TarEntryType.Directory)
                Directory.CreateDirectory(target);
            if (entry.EntryType is not (TarEntryType.RegularFile or TarEntryType.V7RegularFile))
                continue;
            total += entry.Length;
            if (total > MaximumUnpacked)
                throw new InvalidDataException($"it unpacks to more than {MaximumUnpacked} bytes");
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            entry.ExtractToFile(target, overwrite: true);
        }
    }

    private static (string Name, ReadOnlyMemory<byte> Member) DataMember(ReadOnlyMemory<byte> archive)
    {
        if (!archive.Span.StartsWith("!<arch>\n"u8))
            throw new InvalidDataException("it is not an ar archive");
        int at = 8;
        while (archive.Length - at >= ArHeaderSize)
        {
            ReadOnlySpan<byte> header = archive.Span.Slice(at, ArHeaderSize);
            at += ArHeaderSize;
            string name = Encoding.ASCII.GetString(header[..16]).TrimEnd(' ', '/');
            if (BinaryPrimitives.ReadUInt16LittleEndian(header[58..]) != 0x0A60
                || !int.TryParse(Encoding.ASCII.GetString(header.Slice(48, 10)).TrimEnd(), NumberStyles.None, CultureInfo.InvariantCulture, out int size)
                || size > archive.Length - at)
                throw new InvalidDataException($"the ar header at offset 0x{at - ArHeaderSize:x} is damaged");
            if (name.StartsWith("data.tar", StringComparison.Ordinal))
                return (name, archive.Slice(at, size));
            at = Math.Min(archive.Length, at + size + (size & 1));
        }
        throw new InvalidDataException("it has no data.tar member");
    }

    private static byte[] Unxz(ReadOnlySpan<byte> packed)
    {
        var output = new BoundedOutput(packed.Length * 4L, MaximumUnpacked);
        try
        {
            XzDecoder.Decode(packed, output);
        }
        catch (DecompressionException e)
        {
            throw new InvalidDataException(e.Message, e);
        }
        return output.ToArray();
    }

    private static MemoryStream Memory(byte[] bytes) => new(bytes, writable: false);
}
