using Vmm.Core;
using Vmm.Devices.Storage;

namespace Vmm.Devices.Virtio.Block;

/// <summary>Plugs disks into machines.</summary>
public static class VirtioBlockExtensions
{
    /// <summary>Adds a virtio disk (Linux: /dev/vda and so on).</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="open">Opens what is on it, once for each machine that is built; the machine disposes it.</param>
    /// <param name="block">What the disk is like; null for the defaults.</param>
    /// <param name="options">Where it is plugged in and what it offers; null for the defaults.</param>
    public static VirtualMachineBuilder AddVirtioBlock(this VirtualMachineBuilder builder, string name, Func<IBlockStore> open, VirtioBlockOptions? block = null, VirtioOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(open);
        return builder.AddVirtio(name, _ => new VirtioBlock(open(), block), options);
    }
}
