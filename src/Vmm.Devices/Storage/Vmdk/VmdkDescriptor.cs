// VMware "Virtual Disk Format 5.0", "The Descriptor File".
using System.Globalization;
using System.Text;

namespace Vmm.Devices.Storage.Vmdk;

/// <summary>The text that describes a disk: its kind and where its bytes are.</summary>
internal sealed record VmdkDescriptor(string CreateType, string? FlatName, long FlatSectors, long FlatOffset)
{
    public const int MaximumLength = 1 << 20;

    public static VmdkDescriptor Parse(ReadOnlySpan<byte> bytes, string image)
    {
        var text = Encoding.UTF8.GetString(bytes.IndexOf((byte)0) is >= 0 and var end ? bytes[..end] : bytes);
        string? type = null, flat = null;
        long sectors = 0, offset = 0;
        var extents = 0;
        foreach (var line in text.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (Value(line, "createType") is { } createType) type = createType;
            if (Value(line, "parentCID") is { } parent && !parent.Equals("ffffffff", StringComparison.OrdinalIgnoreCase)) throw new ImageFormatException(image, "parentCID", "the image has a parent, and files that an image names are not opened");
            if (!line.StartsWith("RW ", StringComparison.Ordinal) && !line.StartsWith("RDONLY ", StringComparison.Ordinal)) continue;
            extents++;
            var words = line.Split('"');
            var head = words[0].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (head.Length < 3 || !long.TryParse(head[1], NumberStyles.None, CultureInfo.InvariantCulture, out sectors) || sectors > 1L << 41) throw new ImageFormatException(image, "extent", $"'{line}' has no size in sectors");
            if (head[2] != "FLAT" || words.Length < 2) continue;
            flat = words[1];
            if (words.Length > 2 && words[2].Trim() is { Length: > 0 } at && (!long.TryParse(at, NumberStyles.None, CultureInfo.InvariantCulture, out offset) || offset > 1L << 41)) throw new ImageFormatException(image, "extent", $"'{line}' has no offset in sectors");
        }

        if (type is null) throw new ImageFormatException(image, "createType", "the descriptor does not say what kind of image it is");
        if (type is not ("monolithicSparse" or "streamOptimized" or "monolithicFlat")) throw new ImageFormatException(image, "createType", $"'{type}' is not served, only monolithicSparse, streamOptimized and monolithicFlat");
        if (extents != 1) throw new ImageFormatException(image, "extent", $"there are {extents} extents; a monolithic image has one");
        if (type == "monolithicFlat" && flat is null) throw new ImageFormatException(image, "extent", "a flat image's extent is not FLAT");
        return new VmdkDescriptor(type, flat, sectors, offset);
    }

    private static string? Value(string line, string key) =>
        line.StartsWith(key, StringComparison.OrdinalIgnoreCase) && line.IndexOf('=') is > 0 and var at && line[..at].Trim().Equals(key, StringComparison.OrdinalIgnoreCase) ? line[(at + 1)..].Trim().Trim('"') : null;
}
