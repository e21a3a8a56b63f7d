namespace Vmm.Guests;

/// <summary>One place where a guest image was looked for in vain.</summary>
/// <param name="Place">The file, directory or program.</param>
/// <param name="Reason">Why it gave nothing.</param>
public readonly record struct GuestImageProbe(string Place, string Reason);
