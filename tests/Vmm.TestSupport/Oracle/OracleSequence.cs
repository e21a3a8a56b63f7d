using System.Collections.Generic;
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>Several instructions in a row with the state and data they start from. Reused from sequence to sequence.</summary>
public sealed class OracleSequence
{
    private readonly byte[] _bytes = new byte[512];

    /// <summary>The seed the sequence was made from.</summary>
    public ulong Seed { get; internal set; }

    /// <summary>The instructions, with their addresses.</summary>
    public List<Instruction> Instructions { get; } = [];

    /// <summary>The encoded instructions.</summary>
    public ReadOnlySpan<byte> Bytes => _bytes.AsSpan(0, Length);

    /// <summary>The state before; RIP is where the bytes are placed.</summary>
    public OracleState State;

    /// <summary>The data area before.</summary>
    public byte[] Data { get; } = new byte[OracleLayout.DataBytes];

    /// <summary>RFLAGS bits that are undefined when the last instruction has completed.</summary>
    public ulong UndefinedAtEnd { get; internal set; }

    /// <summary>RFLAGS bits that are undefined anywhere: where the sequence ended with a fault.</summary>
    public ulong UndefinedAnywhere { get; internal set; }

    internal int Length { get; set; }

    internal Span<byte> Free => _bytes.AsSpan(Length);
}
