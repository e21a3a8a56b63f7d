using System.Collections.Immutable;
using System.IO.Pipelines;

namespace Vmm.Devices.Boards;

/// <summary>What a <see cref="PcBoard"/> is fitted with.</summary>
public sealed record PcOptions
{
    /// <summary>The other end of COM1; null throws the guest's output away. One machine's: make it in the board's factory.</summary>
    public IDuplexPipe? Console { get; init; }

    /// <summary>The other end of COM2; null throws the guest's output away.</summary>
    public IDuplexPipe? SecondConsole { get; init; }

    /// <summary>Whether the keyboard controller has a mouse.</summary>
    public bool Mouse { get; init; } = true;

    /// <summary>Gets what firmware writes to its debug port 0x402; null keeps it for <see cref="PcBoard.FirmwareLog"/> only. One machine's.</summary>
    public PipeWriter? DebugOutput { get; init; }

    /// <summary>Files for firmware and guests to read by fw_cfg, by name, such as "opt/org.example/seed"; at most 55 ASCII characters.</summary>
    public ImmutableDictionary<string, ReadOnlyMemory<byte>> FirmwareFiles { get; init; } = ImmutableDictionary<string, ReadOnlyMemory<byte>>.Empty;
}
