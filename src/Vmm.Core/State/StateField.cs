namespace Vmm.Core.State;

/// <summary>One field of a unit, read out for people.</summary>
/// <param name="Depth">How many parts it is in.</param>
/// <param name="Path">Names of the parts and of the field, with dots.</param>
/// <param name="Tags">The tags of the same, with dots: what identifies it.</param>
/// <param name="Value">Its bytes; null for a part, whose fields follow.</param>
/// <param name="ElementSize">The size of one element, in bytes.</param>
internal sealed record StateField(int Depth, string Path, string Tags, byte[]? Value, int ElementSize)
{
    /// <summary>The last name of the path.</summary>
    public string Name => Path[(Path.LastIndexOf('.') + 1)..];

    /// <summary>How many elements it has.</summary>
    public int Count => Value!.Length / ElementSize;

    /// <summary>One element as text: a hexadecimal number, or bytes where it is none.</summary>
    public string Element(int index)
    {
        var bytes = Value.AsSpan(index * ElementSize, ElementSize);
        if (ElementSize > 8) return Convert.ToHexStringLower(bytes);
        ulong number = 0;
        for (var i = bytes.Length - 1; i >= 0; i--) number = number << 8 | bytes[i];
        return $"0x{number:x}";
    }

    /// <summary>The whole value as text; runs of equal elements are told once.</summary>
    public string Text()
    {
        if (Count == 1) return Element(0);
        List<string> parts = [];
        for (var i = 0; i < Count;)
        {
            var run = 1;
            var element = Value.AsSpan(i * ElementSize, ElementSize);
            while (i + run < Count && Value.AsSpan((i + run) * ElementSize, ElementSize).SequenceEqual(element)) run++;
            parts.Add(run == 1 ? Element(i) : $"{Element(i)} x{run}");
            i += run;
        }

        return $"[{string.Join(", ", parts)}]";
    }
}
