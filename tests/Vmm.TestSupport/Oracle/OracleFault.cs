namespace Vmm.TestSupport.Oracle;

/// <summary>
/// The exception a run ended with, as the host kernel reported it. <see cref="Vector"/> is the x86 vector number
/// (0 #DE, 1 #DB, 3 #BP, 6 #UD, 12 #SS, 13 #GP, 14 #PF, 16 #MF, 17 #AC, 19 #XM).
/// </summary>
public struct OracleFault : IEquatable<OracleFault>
{
    private int _vectorPlusOne;

    /// <summary>The x86 vector, or -1 if the instruction completed.</summary>
    public int Vector { readonly get => _vectorPlusOne - 1; set => _vectorPlusOne = value + 1; }

    /// <summary>The error code pushed with the exception (0 where it has none).</summary>
    public uint ErrorCode { get; set; }

    /// <summary>CR2 for a page fault, otherwise 0.</summary>
    public ulong Address { get; set; }

    /// <summary>The Linux signal number (0 in faults made by an interpreter). Not part of equality.</summary>
    public int Signal { get; set; }

    /// <summary>The Linux si_code. Not part of equality.</summary>
    public int SignalCode { get; set; }

    /// <summary>No fault.</summary>
    public static OracleFault None => default;

    /// <summary>Whether there was a fault.</summary>
    public readonly bool IsFault => Vector >= 0;

    /// <summary>A page fault's error code has the write bit.</summary>
    public readonly bool IsWrite => Vector == 14 && (ErrorCode & 2) != 0;

    /// <inheritdoc/>
    public readonly bool Equals(OracleFault other) =>
        Vector == other.Vector && ErrorCode == other.ErrorCode && Address == other.Address;

    /// <inheritdoc/>
    public override readonly bool Equals(object? obj) => obj is OracleFault other && Equals(other);

    /// <inheritdoc/>
    public override readonly int GetHashCode() => HashCode.Combine(Vector, ErrorCode, Address);

    /// <inheritdoc/>
    public override readonly string ToString() => Vector switch
    {
        -1 => "none",
        14 => $"#PF(error 0x{ErrorCode:X}, address 0x{Address:X})",
        8 or 10 or 11 or 12 or 13 or 17 => $"{Name(Vector)}(0x{ErrorCode:X})",
        _ => Name(Vector),
    };

    private static string Name(int vector) => vector switch
    {
        0 => "#DE", 1 => "#DB", 2 => "NMI", 3 => "#BP", 4 => "#OF", 5 => "#BR", 6 => "#UD", 7 => "#NM", 8 => "#DF", 10 => "#TS",
        11 => "#NP", 12 => "#SS", 13 => "#GP", 16 => "#MF", 17 => "#AC", 18 => "#MC", 19 => "#XM", _ => $"#{vector}",
    };
}
