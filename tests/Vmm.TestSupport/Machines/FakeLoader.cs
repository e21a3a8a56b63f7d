using Vmm.Core.Boot;
using Vmm.Core.X86;

namespace Vmm.TestSupport.Machines;

/// <summary>A loader that loads nothing and starts at an address; may report problems.</summary>
public sealed class FakeLoader(params string[] problems) : IBootLoader
{
    public ulong Entry { get; init; } = 0x1000;

    public Action<BootContext>? Loading { get; init; }

    public IEnumerable<string> Validate(BootContext context) => problems;

    public void Load(BootContext context, VcpuState state)
    {
        state.Rip = Entry;
        Loading?.Invoke(context);
    }
}
