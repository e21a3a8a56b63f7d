using Vmm.Core;
using Vmm.Core.Boards;
using Vmm.Core.Memory;
using Vmm.Devices.Boards;
using Vmm.Devices.Storage;

namespace Vmm.Devices.Virtio.Pmem;

/// <summary>Plugs persistent memory into machines.</summary>
public static class VirtioPmemExtensions
{
    /// <summary>
    /// Adds a file as virtio persistent memory (Linux: /dev/pmem0; with a file system that can do so, mapped into programs without a page cache of the
    /// guest's). The board places it above RAM. It cannot come or go while the machine runs: other devices may be moving data to and from it.
    /// </summary>
    /// <param name="builder">The builder.</param>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="open">Opens the file, once for each machine that is built; its size is a multiple of <see cref="VirtioPmem.Alignment"/>. The machine disposes it.</param>
    /// <param name="options">Where it is plugged in and what it offers; null for the defaults.</param>
    public static VirtualMachineBuilder AddVirtioPmem(this VirtualMachineBuilder builder, string name, Func<MappedFile> open, VirtioOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(open);
        return builder.AddPart(machine => Add(machine, name, open(), options));
    }

    private static void Add(MachineContext machine, string name, MappedFile file, VirtioOptions? options)
    {
        VirtioPmem device;
        MemoryRegion region;
        try
        {
            if (machine.Board is not IMemoryBoard board) throw new InvalidOperationException($"The board '{machine.Board.Name}' has no place for the memory of '{name}'; use one that implements {nameof(IMemoryBoard)}.");
            var start = board.PlaceMemory(name, file.Length, VirtioPmem.Alignment);
            device = new VirtioPmem(start, file.Length, file.Flush);
            region = MemoryRegion.FromHost(name, start, file.Length, file.Address, owner: file);
        }
        catch
        {
            file.Dispose();
            throw;
        }

        machine.AddMemory(region);
        machine.AddVirtio(name, device, options);
    }
}
