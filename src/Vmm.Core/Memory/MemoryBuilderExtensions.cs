namespace Vmm.Core.Memory;

/// <summary>Adds memory beside the RAM that the board lays out.</summary>
public static class MemoryBuilderExtensions
{
    /// <summary>Adds a ROM: the guest reads it and runs from it; its writes are dropped.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="name">A name unique among the machine's regions.</param>
    /// <param name="address">Guest-physical address of the first byte; a multiple of 4096.</param>
    /// <param name="contents">The bytes; the last page is filled up with 0xFF. Copied when the machine is built.</param>
    public static VirtualMachineBuilder AddRom(this VirtualMachineBuilder builder, string name, ulong address, ReadOnlyMemory<byte> contents) =>
        builder.AddMemoryRegion(() =>
        {
            if (contents.IsEmpty) throw new ArgumentException($"The ROM '{name}' is empty.", nameof(contents));
            var length = ((ulong)contents.Length + (MemoryRegion.PageSize - 1)) & ~(ulong)(MemoryRegion.PageSize - 1);
            var region = MemoryRegion.Allocate(name, address, length, MemoryRegionKind.Rom);
            region.Write(0, contents.Span);
            var rest = new byte[(int)(length - (ulong)contents.Length)];
            rest.AsSpan().Fill(0xFF);
            region.Write((ulong)contents.Length, rest);
            return region;
        });
}
