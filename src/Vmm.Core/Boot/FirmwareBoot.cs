// The reset vector (Intel SDM vol. 3, 10.1.4) and the PC's BIOS areas below 1 MiB and below 4 GiB.
using Vmm.Core.Boards;
using Vmm.Core.Devices;
using Vmm.Core.Memory;
using Vmm.Core.State;
using Vmm.Core.X86;

namespace Vmm.Core.Boot;

/// <summary>
/// Starts firmware at the reset vector. Its image fills a ROM region that ends at 4 GiB; the last 128 KiB are also copied to
/// where they end at 1 MiB, into RAM where the board has RAM there and into a ROM region where not. The processor is as after
/// power-on. <see cref="BootBuilderExtensions.WithFirmware"/> makes the regions too. Immutable and thread-safe.
/// </summary>
/// <param name="image">The ROM's bytes; not copied, so they must not change while the loader is in use.</param>
public sealed class FirmwareBoot(ReadOnlyMemory<byte> image) : IBootLoader
{
    /// <summary>The largest image, in bytes.</summary>
    public const int MaxSize = 16 << 20;

    /// <summary>The grain of image sizes, in bytes.</summary>
    public const int Granularity = 64 << 10;

    private const int LowCopySize = 128 << 10;

    /// <summary>What the image is called in messages, such as its path.</summary>
    public string Name { get; init; } = "firmware";

    private bool HasValidSize => image.Length is > 0 and <= MaxSize && image.Length % Granularity == 0;

    private ulong HighStart => BootPlan.FourGiB - (uint)image.Length;

    private int LowSize => Math.Min(image.Length, LowCopySize);

    private ulong LowStart => LinuxSpec.HighMemory - (uint)LowSize;

    /// <inheritdoc/>
    public IEnumerable<string> Validate(BootContext context) => Plan(context).Problems;

    /// <inheritdoc/>
    public void Load(BootContext context, VcpuState state)
    {
        var plan = Plan(context);
        plan.Start = s =>
        {
            CopyTo(context.Memory, HighStart, image.Span);
            CopyTo(context.Memory, LowStart, image.Span[^LowSize..]);
            s.SetPowerOn();
        };
        plan.Commit(state);
    }

    /// <summary>Adds the region below 4 GiB; an image of a wrong size is left for validation to tell.</summary>
    internal VirtualMachineBuilder AddTo(VirtualMachineBuilder builder)
    {
        builder = builder.WithBootLoader(this);
        if (!HasValidSize) return builder;
        return builder
            .AddMemoryRegion(() => MemoryRegion.Allocate("firmware", HighStart, (uint)image.Length, MemoryRegionKind.Rom))
            .AddPart(AddLowCopy);
    }

    private BootPlan Plan(BootContext context) => BootPlan.Make(context, plan =>
    {
        var size = image.Length;
        if (!HasValidSize)
        {
            plan.Problem(Name, "length", size == 0 ? "it is empty; give a ROM image."
                : size > MaxSize ? $"{size} bytes are more than the {MaxSize} that fit below 4 GiB; give a smaller image."
                : $"{size} bytes are no multiple of {Granularity}; pad the image at its front, so that the reset vector stays 16 bytes before the end.");
            return;
        }

        CheckBacked(plan, HighStart, (uint)size);
        CheckBacked(plan, LowStart, (uint)LowSize);
    });

    private void CheckBacked(BootPlan plan, ulong start, ulong length)
    {
        for (var at = start; at < start + length;)
        {
            if (plan.Context.Memory.Find(at) is not { } region)
            {
                plan.Problem(Name, $"0x{start:x}+0x{length:x}", $"there is no memory at 0x{at:x} to hold it; use WithFirmware, which adds the regions.");
                return;
            }

            at = region.End;
        }
    }

    // Whether the board has RAM below 1 MiB is known only once its memory is laid out.
    private void AddLowCopy(MachineContext machine)
    {
        for (var at = LowStart; at < LinuxSpec.HighMemory; at += MemoryRegion.PageSize)
        {
            if (machine.Memory.Find(at) is not null) return;
        }

        var region = MemoryRegion.Allocate("firmware-low", LowStart, (uint)LowSize, MemoryRegionKind.Rom);
        try
        {
            machine.Memory.Add(region);
            machine.AddDevice("firmware-low", new RegionOwner(region));
        }
        catch
        {
            region.Dispose();
            throw;
        }
    }

    private static void CopyTo(GuestMemory memory, ulong gpa, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty && memory.Find(gpa) is { } region)
        {
            var count = (int)Math.Min((ulong)bytes.Length, region.End - gpa);
            region.Write(gpa - region.Start, bytes[..count]);
            bytes = bytes[count..];
            gpa += (uint)count;
        }
    }

    /// <summary>Ties a region's life to the machine's.</summary>
    private sealed class RegionOwner(MemoryRegion region) : IDevice, IDisposable
    {
        public void Reset()
        {
        }

        public void VisitState(StateVisitor visitor)
        {
        }

        public void Dispose() => region.Dispose();
    }
}
