using System.Runtime.CompilerServices;
using Vmm.Backends.Software;
using Vmm.Core.Backends;

namespace Vmm.Backends.Conformance.Software;

/// <summary>The software CPU with its translator, which here translates all that it can at once.</summary>
public sealed class TranslatorBackend : BackendUnderTest
{
    public override string Name => "translator";

    public override IHypervisor Create() => new SoftwareHypervisor { Engine = CpuEngine.Translate };

    /// <inheritdoc/>
    public override string? Lacks(HypervisorCapabilities capability) =>
        capability == HypervisorCapabilities.InstructionCount ? "unsupported: translated code counts instructions in counted time only" : base.Lacks(capability);

    // Programs of the suite are short: without this they would end before anything is translated.
    [ModuleInitializer]
    internal static void TranslateAtOnce()
    {
        if (Environment.GetEnvironmentVariable("VMM_TRANSLATE_AFTER") is null) Environment.SetEnvironmentVariable("VMM_TRANSLATE_AFTER", "0");
    }
}
