// The PVH boot ABI (Xen docs/misc/pvh.pandoc, "PVH Specification").
using System.Buffers.Binary;
using System.Collections.Immutable;
using Vmm.Core.X86;
using static Vmm.Core.Boot.PvhSpec;

namespace Vmm.Core.Boot;

/// <summary>
/// Boots an ELF kernel that has a PVH entry point (the note XEN_ELFNOTE_PHYS32_ENTRY): Linux with CONFIG_PVH, FreeBSD, and
/// small kernels of many kinds. Started in 32-bit protected mode without paging, EBX pointing to <c>hvm_start_info</c>.
/// Immutable and thread-safe.
/// </summary>
/// <param name="kernel">The ELF file's bytes; not copied, so they must not change while the loader is in use.</param>
public sealed class PvhBoot(ReadOnlyMemory<byte> kernel) : IBootLoader
{
    /// <summary>The most modules, the initrd included.</summary>
    public const int MaxModules = 64;

    private const ushort Code = 0x10, Data = 0x18;

    /// <summary>What the kernel is called in messages, such as its path.</summary>
    public string KernelName { get; init; } = "kernel";

    /// <summary>The command line, at most 64 KiB in UTF-8 (Linux reads 2047 bytes of it); what the machine adds for its devices comes before it.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>The initial RAM disk, handed over as the first module, without a string; empty for none.</summary>
    public ReadOnlyMemory<byte> Initrd { get; init; }

    /// <summary>Further modules, after the initrd.</summary>
    public ImmutableArray<BootModule> Modules { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <inheritdoc/>
    public IEnumerable<string> Validate(BootContext context) => Plan(context).Problems;

    /// <inheritdoc/>
    public void Load(BootContext context, VcpuState state) => Plan(context).Commit(state);

    /// <summary>The PVH entry point of an ELF file, or null if it has none.</summary>
    /// <exception cref="Errors.BootImageException">The note is malformed.</exception>
    internal static ulong? FindEntry(ElfImage elf)
    {
        if (elf.FindNote(NoteOwner, XenElfNotePhys32Entry) is not { } note) return null;
        // 64-bit kernels write it as a pointer of theirs, 32-bit ones as one of theirs.
        return note.Length switch
        {
            4 => BinaryPrimitives.ReadUInt32LittleEndian(note.Span),
            8 => BinaryPrimitives.ReadUInt64LittleEndian(note.Span),
            var n => throw elf.Image.Error("note XEN_ELFNOTE_PHYS32_ENTRY", $"its value has {n} bytes, not 4 or 8; the file is damaged, get it again."),
        };
    }

    private BootPlan Plan(BootContext context) => BootPlan.Make(context, plan =>
    {
        var image = new BootImage(KernelName, kernel);
        var elf = ElfImage.Parse(image);
        if (FindEntry(elf) is not { } entry) throw image.Error("notes", "there is no note XEN_ELFNOTE_PHYS32_ENTRY, so the kernel has no PVH entry; build it with CONFIG_PVH=y, or boot it by another protocol.");
        elf.PlaceSegments(plan, 0);
        if (entry >= BootPlan.FourGiB || !elf.Segments.Exists(s => entry >= s.PhysicalAddress && entry - s.PhysicalAddress < s.MemorySize))
        {
            throw image.Error("note XEN_ELFNOTE_PHYS32_ENTRY", $"the entry point 0x{entry:x} is in no loadable segment below 4 GiB; the file is damaged, get it again.");
        }

        PlanStart(plan, (uint)entry);
    });

    private void PlanStart(BootPlan plan, uint entry)
    {
        var info = new byte[StartInfoSize];
        U32(info, Magic, HvmStartMagicValue);
        U32(info, InfoVersion, StartInfoVersion);
        U64(info, RsdpPaddr, plan.Context.RsdpAddress);
        var commandLine = plan.CommandLine(KernelName, CommandLine, BootPlan.MaxCommandLine, "a PVH command line here");
        U64(info, CmdlinePaddr, plan.PlaceLow(KernelName, "command line", commandLine, 16));
        PlaceModules(plan, info);
        var map = plan.Context.MemoryMap;
        var table = new byte[map.Length * MemmapEntrySize];
        for (var i = 0; i < map.Length; i++)
        {
            U64(table, i * MemmapEntrySize + MemmapAddr, map[i].Start);
            U64(table, i * MemmapEntrySize + MemmapSize, map[i].Length);
            U32(table, i * MemmapEntrySize + MemmapType, (uint)map[i].Type);
        }

        U64(info, MemmapPaddr, plan.PlaceLow(KernelName, "memory map", table, 16));
        U32(info, MemmapEntries, (uint)map.Length);
        var infoAddress = plan.PlaceLow(KernelName, "hvm_start_info", info, 16);
        SegmentState code = SegmentState.Code32(Code), data = SegmentState.Data32(Data);
        var gdt = BootCpu.Gdt(code, data);
        var gdtAddress = plan.PlaceLow(KernelName, "descriptor table", gdt, 16);
        plan.Start = state =>
        {
            BootCpu.ProtectedMode(state, gdtAddress, gdt.Length, code, data, entry);
            state.Gpr[3] = infoAddress; // EBX
        };
    }

    private void PlaceModules(BootPlan plan, byte[] info)
    {
        List<(BootModule Module, string Text)> modules = [.. Modules.Select(m => (m, m.Text))];
        if (!Initrd.IsEmpty) modules.Insert(0, (new BootModule("initrd", Initrd), ""));
        if (modules.Count > MaxModules) plan.Problem(KernelName, "modules", $"{modules.Count} modules are more than {MaxModules}; give fewer.");
        if (modules.Count is 0 or > MaxModules) return;
        var list = new byte[modules.Count * ModlistEntrySize];
        for (var i = 0; i < modules.Count; i++)
        {
            var (module, text) = modules[i];
            if (module.Data.IsEmpty) plan.Problem(module.Name, "length", "the module is empty; leave it out or give it content.");
            else if (!plan.Memory.TryAllocate(((uint)module.Data.Length + 0xFFFUL) & ~0xFFFUL, 0x1000, LinuxSpec.HighMemory, BootPlan.FourGiB, highest: true, $"module {module.Name}", out var address))
            {
                plan.Problem(module.Name, "length", $"no room for its {module.Data.Length} bytes between 1 MiB and 4 GiB; {plan.Memory.Describe()}. Give the machine more memory.");
            }
            else
            {
                plan.Write(address, module.Data);
                U64(list, i * ModlistEntrySize + ModulePaddr, address);
                U64(list, i * ModlistEntrySize + ModuleSize, (uint)module.Data.Length);
            }

            if (text.Length == 0) continue;
            var line = plan.CommandLine(module.Name, text, BootPlan.MaxCommandLine, "a module's string", withExtra: false);
            U64(list, i * ModlistEntrySize + ModuleCmdlinePaddr, plan.PlaceLow(module.Name, "string", line, 16));
        }

        U64(info, ModlistPaddr, plan.PlaceLow(KernelName, "module list", list, 16));
        U32(info, NrModules, (uint)modules.Count);
    }

    private static void U32(byte[] to, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(to.AsSpan(offset), value);

    private static void U64(byte[] to, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(to.AsSpan(offset), value);
}
