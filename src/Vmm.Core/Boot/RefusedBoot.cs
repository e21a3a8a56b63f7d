using Vmm.Core.Errors;
using Vmm.Core.X86;

namespace Vmm.Core.Boot;

/// <summary>Stands for an image that no loader takes: the reason is told with all other problems of the machine, not earlier.</summary>
internal sealed class RefusedBoot(string image, string place, string reason) : IBootLoader
{
    public IEnumerable<string> Validate(BootContext context) => [new BootImageException(image, place, reason).Message];

    public void Load(BootContext context, VcpuState state) => throw new BootImageException(image, place, reason);
}
