namespace Vmm.Guests.Packages;

/// <summary>Says why a file is not what is looked for.</summary>
/// <param name="start">Its first bytes.</param>
/// <returns>Null if it is.</returns>
internal delegate string? ImageJudge(ReadOnlySpan<byte> start);
