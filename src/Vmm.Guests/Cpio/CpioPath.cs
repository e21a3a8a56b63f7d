// Names in an initramfs: Linux Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c.
using System.Text;

namespace Vmm.Guests.Cpio;

/// <summary>Turns what a caller writes ("/bin/sh", "./etc//passwd") into the one spelling an archive holds ("bin/sh").</summary>
internal static class CpioPath
{
    /// <summary>Linux's PATH_MAX, the terminating NUL included; the kernel skips an entry with a longer name.</summary>
    public const int MaximumBytes = 4096;

    /// <summary>Linux's NAME_MAX: most bytes between two slashes.</summary>
    public const int MaximumPartBytes = 255;

    /// <summary>The name that ends an archive.</summary>
    public const string Trailer = "TRAILER!!!";

    // Throws for lone surrogates, which would otherwise become U+FFFD and name another file.
    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>The normalised name, or "" for the root itself.</summary>
    /// <exception cref="ArgumentException">The name is empty, too long, or has NUL, ".." or unpaired surrogates.</exception>
    public static string Normalise(string path, string parameter)
    {
        ArgumentNullException.ThrowIfNull(path, parameter);
        if (path.Length == 0)
            throw new ArgumentException("A name in an initramfs cannot be empty; use \"/\" for its root.", parameter);
        if (path.Contains('\0'))
            throw new ArgumentException($"The name {Show(path)} has a NUL character, which would end it early.", parameter);
        string[] parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        var kept = new List<string>(parts.Length);
        foreach (string part in parts)
        {
            if (part == "..")
                throw new ArgumentException($"The name {Show(path)} has a \"..\" part; write the resolved path instead.", parameter);
            if (part == ".")
                continue;
            Encode(part, MaximumPartBytes, "name part", parameter);
            kept.Add(part);
        }
        string name = string.Join('/', kept);
        if (name == Trailer)
            throw new ArgumentException($"The name {Show(path)} is the end mark of cpio archives and cannot name an entry.", parameter);
        Encode(name, MaximumBytes - 1, "name", parameter);
        return name;
    }

    /// <summary>UTF-8 of a name or link target of at most <paramref name="limit"/> bytes.</summary>
    /// <exception cref="ArgumentException">It is longer, or is not valid UTF-16.</exception>
    public static byte[] Encode(string text, int limit, string what, string parameter)
    {
        byte[] bytes;
        try
        {
            bytes = Utf8.GetBytes(text);
        }
        catch (EncoderFallbackException)
        {
            throw new ArgumentException($"The {what} {Show(text)} has an unpaired surrogate and has no UTF-8 form.", parameter);
        }
        if (bytes.Length > limit)
            throw new ArgumentException($"The {what} {Show(text)} has {bytes.Length} bytes; Linux takes at most {limit}.", parameter);
        return bytes;
    }

    /// <summary>A short, printable quotation for error messages.</summary>
    public static string Show(string text)
    {
        var shown = new StringBuilder("\"");
        foreach (char c in text.Length > 80 ? text.AsSpan(0, 80) : text)
            shown.Append(char.IsControl(c) || char.IsSurrogate(c) ? $"\\u{(int)c:x4}" : c.ToString());
        return shown.Append(text.Length > 80 ? "...\"" : "\"").ToString();
    }
}
