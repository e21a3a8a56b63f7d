using Vmm.Backends.Software;
using System.Collections.Immutable;
using Vmm.Core.X86;

namespace Vmm.Cli.Commands;

/// <summary>What <c>vmm run</c> was asked for; checked.</summary>
internal sealed record RunOptions
{
    public bool Linux { get; init; }

    public string? Kernel { get; init; }

    public string? Busybox { get; init; }

    public string? Command { get; init; }

    public string? Firmware { get; init; }

    public string? Initrd { get; init; }

    public ImmutableArray<ModuleFile> Modules { get; init; } = [];

    public string? Append { get; init; }

    /// <summary>"microvm" or "pc".</summary>
    public required string Board { get; init; }

    public required string Backend { get; init; }

    /// <summary>How the software CPU runs instructions.</summary>
    public CpuEngine Engine { get; init; }

    public required ulong Memory { get; init; }

    public required int Cpus { get; init; }

    public required CpuModel CpuModel { get; init; }

    public ushort? DebugExit { get; init; }

    /// <summary>Where the serial port goes: "stdio", "none" or a file.</summary>
    public required string Console { get; init; }

    /// <summary>Whether a virtio console is on standard input and output; the serial port then is not.</summary>
    public bool VirtioConsole { get; init; }

    public TimeSpan? Timeout { get; init; }

    public ImmutableArray<DiskArgument> Disks { get; init; } = [];

    public bool Rng { get; init; }

    /// <summary>Whether virtio devices are PCI functions.</summary>
    public bool Pci { get; init; }

    public string? Report { get; init; }
}
