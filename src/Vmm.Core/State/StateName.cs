namespace Vmm.Core.State;

/// <summary>Makes names for people out of the expressions the compiler fills in: <c>_s.Ier</c> is called Ier.</summary>
internal static class StateName
{
    public static string Clean(string expression)
    {
        var name = expression.AsSpan().Trim();
        foreach (var prefix in (ReadOnlySpan<string>)["ref ", "this.", "_state.", "_s."])
        {
            if (name.StartsWith(prefix, StringComparison.Ordinal)) name = name[prefix.Length..];
        }

        if (name.EndsWith(".AsSpan()", StringComparison.Ordinal)) name = name[..^".AsSpan()".Length];
        return name.TrimStart('_').ToString();
    }
}
