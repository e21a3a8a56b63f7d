using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>One instruction with the state and data it starts from. Reused from case to case.</summary>
public sealed class OracleCase
{
    private readonly byte[] _bytes = new byte[16];

    /// <summary>The catalogue's form; <see cref="Instruction"/> is what the bytes decode to, with prefixes.</summary>
    public Code Code { get; internal set; }

    /// <summary>The seed the case was made from.</summary>
    public ulong Seed { get; internal set; }

    /// <summary>The instruction as Iced decodes it, IP included.</summary>
    public Instruction Instruction { get; internal set; }

    /// <summary>The encoded instruction.</summary>
    public ReadOnlySpan<byte> Bytes => _bytes.AsSpan(0, Instruction.Length);

    /// <summary>The state before; RIP is where the bytes are placed.</summary>
    public OracleState State;

    /// <summary>Address of the data area.</summary>
    public ulong DataAddress { get; internal init; }

    /// <summary>The data area before.</summary>
    public byte[] Data { get; } = new byte[OracleLayout.DataBytes];

    internal byte[] Buffer => _bytes;
}
