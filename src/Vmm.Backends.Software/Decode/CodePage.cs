using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Decode;

/// <summary>What is decoded of a page of guest memory, by any processor of the machine. Translated code reads it too.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CodePage
{
    /// <summary>A bit for each 64 bytes: some of them are decoded. It may be set for longer than that is so.</summary>
    public ulong Granules;

    /// <summary>Writes beside code until that gets dear enough for the code to be dropped.</summary>
    public int Left;

    /// <summary>What <see cref="Left"/> begins with.</summary>
    public int Patience;
}
