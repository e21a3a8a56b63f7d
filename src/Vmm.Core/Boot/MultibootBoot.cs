// The Multiboot Specification version 0.6.96: 3.1 OS image format, 3.2 machine state, 3.3 boot information format.
using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Text;
using Vmm.Core.X86;
using static Vmm.Core.Boot.MultibootSpec;

namespace Vmm.Core.Boot;

/// <summary>
/// Boots a Multiboot 1 kernel: a 32-bit ELF file, or an image of any format whose header has the address fields. Started in
/// 32-bit protected mode without paging, EAX holding the magic and EBX pointing to the information structure, which has memory
/// sizes and map, command line, modules and loader name. Immutable and thread-safe.
/// </summary>
/// <param name="kernel">The kernel file's bytes; not copied, so they must not change while the loader is in use.</param>
public sealed class MultibootBoot(ReadOnlyMemory<byte> kernel) : IBootLoader
{
    /// <summary>The most modules.</summary>
    public const int MaxModules = 256;

    private const ushort Code = 0x08, Data = 0x10;

    /// <summary>What the kernel is called in messages, such as its path.</summary>
    public string KernelName { get; init; } = "kernel";

    /// <summary>The command line, at most 64 KiB in UTF-8, exactly as given: neither a file name nor the machine's own arguments come before it.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>The modules, loaded above the kernel in this order, each at a page.</summary>
    public ImmutableArray<BootModule> Modules { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <inheritdoc/>
    public IEnumerable<string> Validate(BootContext context) => Plan(context).Problems;

    /// <inheritdoc/>
    public void Load(BootContext context, VcpuState state) => Plan(context).Commit(state);

    /// <summary>The offset of the first valid header, or -1.</summary>
    internal static int FindHeader(ReadOnlySpan<byte> bytes)
    {
        var end = Math.Min(bytes.Length, SearchLength) - MagicFieldsSize;
        for (var at = 0; at <= end; at += HeaderAlign)
        {
            var header = bytes[at..];
            if (BinaryPrimitives.ReadUInt32LittleEndian(header) == HeaderMagic
                && unchecked(HeaderMagic + BinaryPrimitives.ReadUInt32LittleEndian(header[Flags..]) + BinaryPrimitives.ReadUInt32LittleEndian(header[Checksum..])) == 0) return at;
        }

        return -1;
    }

    private BootPlan Plan(BootContext context) => BootPlan.Make(context, plan =>
    {
        var image = new BootImage(KernelName, kernel);
        var header = FindHeader(kernel.Span);
        if (header < 0) throw image.Error("Multiboot header", $"there is none with a right checksum in the first {SearchLength} bytes; give a Multiboot 1 kernel (Multiboot 2 is not supported).");
        var flags = image.U32((ulong)header + Flags, "flags");
        if ((flags & VideoMode) != 0) plan.Problem(KernelName, "Multiboot header, flags", "bit 2 asks for a video mode, and the machine has no display; clear the bit in the kernel.");
        if ((flags & RequiredMask & ~(PageAlign | MemoryInfo | VideoMode)) is var unknown and not 0) plan.Problem(KernelName, "Multiboot header, flags", $"the required features 0x{unknown:x} are not in the specification; clear the bits in the kernel.");
        var (entry, end) = (flags & AoutKludge) != 0 ? PlaceByAddresses(plan, image, (uint)header) : PlaceElf(plan, image);
        PlanStart(plan, entry, end);
    });

    private static (uint Entry, ulong End) PlaceByAddresses(BootPlan plan, BootImage image, uint header)
    {
        ulong Field(int offset) => image.U32(header + (uint)offset, "Multiboot header, address fields");
        ulong headerAddr = Field(HeaderAddr), load = Field(LoadAddr), loadEnd = Field(LoadEndAddr), bssEnd = Field(BssEndAddr), entry = Field(EntryAddr);
        if (load > headerAddr) throw image.Error("Multiboot header, load_addr", $"0x{load:x} is above header_addr 0x{headerAddr:x}, but the header is part of what is loaded; mend the kernel's header.");
        if (headerAddr - load > header) throw image.Error("Multiboot header, header_addr", $"the header lies 0x{header:x} bytes into the file, but 0x{headerAddr - load:x} bytes above load_addr, so loading would start before the file; mend the kernel's header.");
        var offset = header - (headerAddr - load);
        var available = image.Length - offset;
        if (loadEnd != 0 && loadEnd < load) throw image.Error("Multiboot header, load_end_addr", $"0x{loadEnd:x} is below load_addr 0x{load:x}; mend the kernel's header.");
        var size = loadEnd == 0 ? available : loadEnd - load;
        if (size == 0) throw image.Error("Multiboot header, load_end_addr", "it equals load_addr, so there is nothing to load; mend the kernel's header.");
        if (size > available) throw image.Error("Multiboot header, load_end_addr", $"0x{size:x} bytes are to be loaded, but only 0x{available:x} follow in the file; the file is truncated or damaged, get it again.");
        if (bssEnd != 0 && bssEnd < load + size) throw image.Error("Multiboot header, bss_end_addr", $"0x{bssEnd:x} is below the end of the data 0x{load + size:x}; mend the kernel's header.");
        var end = bssEnd == 0 ? load + size : bssEnd;
        if (end > BootPlan.FourGiB) throw image.Error("Multiboot header, load_addr", $"0x{load:x} plus 0x{size:x} bytes passes 4 GiB; mend the kernel's header.");
        if (entry < load || entry >= end) throw image.Error("Multiboot header, entry_addr", $"0x{entry:x} is outside what is loaded at 0x{load:x}-0x{end - 1:x}; mend the kernel's header.");
        if (!plan.Memory.TryReserve(load, end - load, "the kernel"))
        {
            plan.Problem(image.Name, "Multiboot header, load_addr", $"0x{load:x}-0x{end - 1:x} cannot be loaded: {plan.Memory.Obstacle(load, end - load)}. Give the machine more memory, or link the kernel elsewhere.");
        }

        plan.Write(load, image.Slice(offset, size, "load_addr"));
        plan.Zero(load + size, end - load - size);
        return ((uint)entry, end);
    }

    private static (uint Entry, ulong End) PlaceElf(BootPlan plan, BootImage image)
    {
        if (!ElfImage.IsMatch(image.Bytes.Span)) throw image.Error("Multiboot header, flags", "bit 16 is clear, so the image should be ELF, and it is not; mend the kernel's header.");
        var elf = ElfImage.Parse(image);
        if (elf.Is64Bit) throw image.Error("e_ident[EI_CLASS] at 4", "the ELF file is of 64 bits, which Multiboot 1 does not know; give a 32-bit one, made for instance by objcopy -O elf32-i386.");
        var end = elf.PlaceSegments(plan, 0);
        if (elf.PhysicalEntry(elf.Entry) is not { } entry || entry >= BootPlan.FourGiB) throw image.Error("e_entry at 24", $"the entry point 0x{elf.Entry:x} is in no loadable segment; the file is damaged, get it again.");
        return ((uint)entry, end);
    }

    private void PlanStart(BootPlan plan, uint entry, ulong kernelEnd)
    {
        var info = new byte[InfoSize];
        U32(info, InfoFlags, InfoMemory | InfoCmdline | InfoMods | InfoMemMap | InfoBootLoaderName);
        U32(info, MemLower, (uint)(Contiguous(plan.Context.MemoryMap, 0, 640 << 10) >> 10));
        U32(info, MemUpper, (uint)(Contiguous(plan.Context.MemoryMap, LinuxSpec.HighMemory, BootPlan.FourGiB) >> 10));
        var commandLine = plan.CommandLine(KernelName, CommandLine, BootPlan.MaxCommandLine, "a Multiboot command line here", withExtra: false);
        U32(info, Cmdline, (uint)plan.PlaceLow(KernelName, "command line", commandLine, 16));
        U32(info, BootLoaderName, (uint)plan.PlaceLow(KernelName, "boot loader name", "Vmm\0"u8.ToArray(), 16));
        PlaceModules(plan, info, kernelEnd);
        var map = plan.Context.MemoryMap;
        var table = new byte[map.Length * MmapEntrySize];
        for (var i = 0; i < map.Length; i++)
        {
            var at = table.AsSpan(i * MmapEntrySize, MmapEntrySize);
            BinaryPrimitives.WriteUInt32LittleEndian(at, MmapEntrySize - MmapBase);
            BinaryPrimitives.WriteUInt64LittleEndian(at[MmapBase..], map[i].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(at[MmapLen..], map[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(at[MmapType..], (uint)map[i].Type);
        }

        U32(info, MmapLength, (uint)table.Length);
        U32(info, MmapAddr, (uint)plan.PlaceLow(KernelName, "memory map", table, 16));
        var infoAddress = plan.PlaceLow(KernelName, "information structure", info, 16);
        SegmentState code = SegmentState.Code32(Code), data = SegmentState.Data32(Data);
        var gdt = BootCpu.Gdt(code, data);
        var gdtAddress = plan.PlaceLow(KernelName, "descriptor table", gdt, 16);
        plan.Start = state =>
        {
            BootCpu.ProtectedMode(state, gdtAddress, gdt.Length, code, data, entry);
            (state.Gpr[0], state.Gpr[3]) = (BootloaderMagic, infoAddress); // EAX, EBX
        };
    }

    // Modules go right above the kernel, in order, which is where kernels look for the first memory they may use.
    private void PlaceModules(BootPlan plan, byte[] info, ulong kernelEnd)
    {
        if (Modules.Length > MaxModules) plan.Problem(KernelName, "modules", $"{Modules.Length} modules are more than {MaxModules}; give fewer.");
        if (Modules.Length is 0 or > MaxModules) return;
        var list = new byte[Modules.Length * ModSize];
        var min = Math.Max(kernelEnd, LinuxSpec.HighMemory);
        for (var i = 0; i < Modules.Length; i++)
        {
            var module = Modules[i];
            if (module.Data.IsEmpty)
            {
                plan.Problem(module.Name, "length", "the module is empty; leave it out or give it content.");
            }
            else if (!plan.Memory.TryAllocate(((uint)module.Data.Length + 0xFFFUL) & ~0xFFFUL, 0x1000, min, BootPlan.FourGiB, highest: false, $"module {module.Name}", out var address))
            {
                plan.Problem(module.Name, "length", $"no room for its {module.Data.Length} bytes between 0x{min:x} and 4 GiB; {plan.Memory.Describe()}. Give the machine more memory.");
            }
            else
            {
                plan.Write(address, module.Data);
                U32(list, i * ModSize + ModStart, (uint)address);
                U32(list, i * ModSize + ModEnd, (uint)(address + (uint)module.Data.Length));
                min = address + (uint)module.Data.Length;
            }

            var text = plan.CommandLine(module.Name, module.Text, BootPlan.MaxCommandLine, "a module's string", withExtra: false);
            U32(list, i * ModSize + ModString, (uint)plan.PlaceLow(module.Name, "string", text, 16));
        }

        U32(info, ModsCount, (uint)Modules.Length);
        U32(info, ModsAddr, (uint)plan.PlaceLow(KernelName, "module list", list, 16));
    }

    private static ulong Contiguous(ImmutableArray<MemoryMapEntry> map, ulong start, ulong limit)
    {
        foreach (var e in map)
        {
            if (e.Type == MemoryMapType.Ram && e.Start <= start && e.Length > start - e.Start) return Math.Min(e.Start + e.Length, limit) - start;
        }

        return 0;
    }

    private static void U32(byte[] to, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(to.AsSpan(offset), value);
}
