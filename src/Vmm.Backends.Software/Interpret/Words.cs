namespace Vmm.Backends.Software.Interpret;

// Operand types of generic handlers. They are our own because an image compiled ahead of time holds no instances over the framework's.

/// <summary>An operand of 8 bits.</summary>
internal readonly struct Word8(byte value)
{
    public readonly byte Value = value;
}

/// <summary>An operand of 16 bits.</summary>
internal readonly struct Word16(ushort value)
{
    public readonly ushort Value = value;
}

/// <summary>An operand of 32 bits.</summary>
internal readonly struct Word32(uint value)
{
    public readonly uint Value = value;
}

/// <summary>An operand of 64 bits.</summary>
internal readonly struct Word64(ulong value)
{
    public readonly ulong Value = value;
}
