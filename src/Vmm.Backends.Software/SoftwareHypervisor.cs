using Vmm.Core.Backends;

namespace Vmm.Backends.Software;

/// <summary>The software CPU: an x86-64 processor in portable C#. Works on every host, without any privilege.</summary>
public sealed class SoftwareHypervisor : IHypervisor
{
    internal const HypervisorCapabilities Capabilities = HypervisorCapabilities.DirtyLog | HypervisorCapabilities.InstructionCount | HypervisorCapabilities.VirtualTime | HypervisorCapabilities.LocalApic | HypervisorCapabilities.FullSystem;

    /// <inheritdoc/>
    public string Name => "software";

    /// <summary>How instructions are run.</summary>
    public CpuEngine Engine { get; init; } = CpuEngine.Auto;

    /// <summary>Runs of a block in the interpreter before it is translated; tests set VMM_TRANSLATE_AFTER to 0, so that all code is.</summary>
    internal int? TranslateAfter { get; init; }

    /// <summary>Bytes of either part of a region of translated code; tests set VMM_CODE_PART to few, so that code is dropped all the time.</summary>
    internal int? CodePart { get; init; }

    /// <inheritdoc/>
    public HypervisorProbe Probe() => BitConverter.IsLittleEndian
        ? new("software", true, "The software CPU runs everywhere.", null, Capabilities)
        : new("software", false, "This host is big-endian; the software CPU shares memory with its guest in little-endian order.", null, HypervisorCapabilities.None);

    /// <inheritdoc/>
    public IPartition CreatePartition(PartitionOptions options) => new SoftwarePartition(options, Engine, TranslateAfter, CodePart);

    /// <summary>What an option comes down to on this host.</summary>
    internal static CpuEngine Resolve(CpuEngine engine)
    {
        if (engine != CpuEngine.Auto) return engine;
        return Environment.GetEnvironmentVariable("VMM_CPU_ENGINE") == "interpret" ? CpuEngine.Interpret : CpuEngine.Translate;
    }
}
