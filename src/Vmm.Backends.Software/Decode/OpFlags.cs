namespace Vmm.Backends.Software.Decode;

/// <summary>Prefixes and address size of an instruction.</summary>
[Flags]
internal enum OpFlags : byte
{
    None = 0,
    Lock = 1,
    Rep = 2,
    Repne = 4,

    /// <summary>The (implicit or explicit) address size is 16, 32 or 64 bits: string instructions need it.</summary>
    Address16 = 8,
    Address32 = 16,
    Address64 = 32,
}
