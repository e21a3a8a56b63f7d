using System.Globalization;

namespace Vmm.Cli.Commands;

/// <summary>Reads numbers as people write them. Null where the text is not one.</summary>
internal static class Units
{
    /// <summary>A size with a binary unit: 256M, 1G, 512K, 1.5GiB.</summary>
    public static ulong? Size(string text)
    {
        var trimmed = text.AsSpan().Trim();
        if (trimmed.EndsWith("iB", StringComparison.OrdinalIgnoreCase)) trimmed = trimmed[..^2];
        else if (trimmed.EndsWith("B", StringComparison.OrdinalIgnoreCase)) trimmed = trimmed[..^1];
        if (trimmed.IsEmpty) return null;
        var shift = char.ToUpperInvariant(trimmed[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, 'T' => 40, _ => -1 };
        if (shift < 0 || !decimal.TryParse(trimmed[..^1], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number)) return null;
        if (number > ulong.MaxValue >> shift) return null;
        var bytes = number * (1UL << shift);
        return bytes == decimal.Truncate(bytes) ? (ulong)bytes : null;
    }

    /// <summary>A port number, decimal or with 0x.</summary>
    public static ushort? Port(string text) =>
        text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? ushort.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var hex) ? hex : null
            : ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;

    /// <summary>A time in seconds, more than none and at most 30 days.</summary>
    public static TimeSpan? Seconds(string text) =>
        double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var seconds) && seconds is > 0 and <= 30 * 86400 ? TimeSpan.FromSeconds(seconds) : null;

    /// <summary>A size for people: 256 MiB.</summary>
    public static string Show(ulong bytes) => bytes switch
    {
        >= 1UL << 30 when bytes % (1UL << 30) == 0 => $"{bytes >> 30} GiB",
        >= 1UL << 20 when bytes % (1UL << 20) == 0 => $"{bytes >> 20} MiB",
        _ => $"{bytes >> 10} KiB",
    };
}
