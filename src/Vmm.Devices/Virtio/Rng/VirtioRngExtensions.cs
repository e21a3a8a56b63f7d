using Vmm.Core;

namespace Vmm.Devices.Virtio.Rng;

/// <summary>Plugs a source of random bytes into machines.</summary>
public static class VirtioRngExtensions
{
    /// <summary>Adds a virtio entropy device (Linux: /dev/hwrng).</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="fill">Fills a span with random bytes; null for the operating system's generator.</param>
    /// <param name="options">Where it is plugged in and what it offers; null for the defaults.</param>
    /// <param name="name">A name unique within the machine.</param>
    public static VirtualMachineBuilder AddVirtioRng(this VirtualMachineBuilder builder, VirtioRng.FillBytes? fill = null, VirtioOptions? options = null, string name = "rng") =>
        builder.AddVirtio(name, _ => new VirtioRng(fill), options);
}
