// The Linux/x86 boot protocol: 64-bit and 32-bit entry (Documentation/arch/x86/boot.rst), boot_params (zero-page.rst).
using System.Buffers.Binary;
using Vmm.Core.X86;
using static Vmm.Core.Boot.LinuxSpec;

namespace Vmm.Core.Boot;

/// <summary>
/// Boots a Linux kernel, a bzImage or an x86-64 ELF vmlinux, without firmware: the kernel is entered directly, in 64-bit mode
/// on identity-mapped page tables, with <c>boot_params</c> made from nothing. A bzImage without 64-bit entry is entered in
/// 32-bit protected mode. Nothing is decompressed on the host: kernel and initrd do that in the guest, in the guest's memory.
/// Immutable and thread-safe.
/// </summary>
/// <param name="kernel">The kernel file's bytes; not copied, so they must not change while the loader is in use.</param>
public sealed class LinuxBoot(ReadOnlyMemory<byte> kernel) : IBootLoader
{
    /// <summary>What the kernel is called in messages, such as its path.</summary>
    public string KernelName { get; init; } = "kernel";

    /// <summary>What the initrd is called in messages, such as its path.</summary>
    public string InitrdName { get; init; } = "initrd";

    /// <summary>The initial RAM disk or initramfs, compressed or not; empty for none.</summary>
    public ReadOnlyMemory<byte> Initrd { get; init; }

    /// <summary>
    /// The kernel command line, in UTF-8 at most what the kernel's header allows (2047 bytes for most); what the machine adds
    /// for its devices comes before it.
    /// </summary>
    public string CommandLine { get; init; } = "";

    /// <inheritdoc/>
    public IEnumerable<string> Validate(BootContext context) => Plan(context).Problems;

    /// <inheritdoc/>
    public void Load(BootContext context, VcpuState state) => Plan(context).Commit(state);

    private BootPlan Plan(BootContext context) => BootPlan.Make(context, plan =>
    {
        var image = new BootImage(KernelName, kernel);
        if (ElfImage.IsMatch(kernel.Span)) PlanVmlinux(plan, image);
        else PlanBzImage(plan, BzImage.Parse(image));
    });

    private void PlanBzImage(BootPlan plan, BzImage kernelImage)
    {
        var page = new byte[BootParamsSize];
        kernelImage.SetupHeaderBytes.Span.CopyTo(page.AsSpan(SetupHeader));
        if (!TryPlaceKernel(plan, kernelImage, out var address, out var alignment)) return;
        plan.Write(address, kernelImage.Code);

        // What the image says of things that are the loader's to say does not count.
        page.AsSpan(RealmodeSwtch, 4).Clear();
        page.AsSpan(HardwareSubarch, 12).Clear();
        page[LoadFlags] &= unchecked((byte)~(KaslrFlag | KeepSegments | CanUseHeap));
        U32(page, Code32Start, (uint)address);
        U32(page, KernelAlignment, (uint)alignment);
        Finish(plan, page, kernelImage.Is64Bit, kernelImage.Is64Bit ? address + Entry64 : address, kernelImage.InitrdMax, kernelImage.CommandLineMax, "cmdline_size in the kernel's header");
    }

    private static bool TryPlaceKernel(BootPlan plan, BzImage k, out ulong address, out ulong alignment)
    {
        const string What = "the kernel";
        (address, alignment) = (k.PreferredAddress, k.Alignment);
        if (address >= HighMemory && address % alignment == 0 && address <= BootPlan.FourGiB && k.RunSize <= BootPlan.FourGiB - address
            && plan.Memory.TryReserve(address, k.RunSize, What)) return true;

        // A kernel that is loaded below its preferred address moves itself there, so only places above it are any use.
        var min = Math.Max(k.PreferredAddress, HighMemory);
        if (k.IsRelocatable)
        {
            if (plan.Memory.TryAllocate(k.RunSize, alignment, min, BootPlan.FourGiB, highest: false, What, out address)) return true;
            if (k.MinimumAlignment != 0 && k.MinimumAlignment < alignment
                && plan.Memory.TryAllocate(k.RunSize, k.MinimumAlignment, min, BootPlan.FourGiB, highest: false, What, out address))
            {
                alignment = k.MinimumAlignment;
                return true;
            }
        }

        plan.Problem(k.Image.Name, "init_size at 0x260 and pref_address at 0x258", k.IsRelocatable
            ? $"the kernel needs 0x{k.RunSize:x} bytes at 0x{min:x} or higher, aligned to 0x{alignment:x}, below 4 GiB; {plan.Memory.Describe()}. Give the machine more memory."
            : $"the kernel is not relocatable and needs 0x{k.RunSize:x} bytes at 0x{k.PreferredAddress:x}, but {plan.Memory.Obstacle(k.PreferredAddress, k.RunSize)}. Give the machine more memory, or build the kernel with CONFIG_RELOCATABLE.");
        return false;
    }

    private void PlanVmlinux(BootPlan plan, BootImage image)
    {
        var elf = ElfImage.Parse(image);
        if (elf.Machine != ElfImage.EmX8664 || !elf.Is64Bit) throw image.Error("e_machine", "this is a 32-bit ELF file, which the 64-bit Linux boot protocol cannot enter; give its bzImage, or boot it by PVH or Multiboot.");
        var end = elf.PlaceSegments(plan, HighMemory);
        if (elf.PhysicalEntry(elf.Entry) is not { } entry) throw image.Error("e_entry at 24", $"the entry point 0x{elf.Entry:x} is in no loadable segment; the file is damaged, get it again.");
        if (end > BootPlan.FourGiB) plan.Problem(image.Name, "p_paddr", $"the kernel ends at 0x{end:x}, above 4 GiB; link it lower.");

        var page = new byte[BootParamsSize];
        U16(page, BootFlag, BootFlagMagic);
        U32(page, Header, HeaderMagic);
        U16(page, ProtocolVersion, XLoadFlagsVersion);
        page[LoadFlags] = LoadedHigh;
        U32(page, KernelAlignment, VmlinuxAlignment);
        U32(page, InitrdAddrMax, VmlinuxInitrdAddrMax);
        U32(page, CmdlineSize, VmlinuxCmdlineSize);
        U16(page, XLoadFlags, XlfKernel64);
        Finish(plan, page, is64Bit: true, entry, VmlinuxInitrdAddrMax, VmlinuxCmdlineSize, "Linux");
    }

    /// <summary>Places all that the kernel is handed, and the processor.</summary>
    private void Finish(BootPlan plan, byte[] page, bool is64Bit, ulong entry, uint initrdMax, uint commandLineMax, string limitName)
    {
        var commandLine = plan.CommandLine(KernelName, CommandLine, Math.Min(commandLineMax, BootPlan.MaxCommandLine), limitName);
        var code = is64Bit ? SegmentState.Code64(BootCs) : SegmentState.Code32(BootCs);
        var data = SegmentState.Data32(BootDs);
        var gdt = BootCpu.Gdt(code, data);
        var gdtAddress = plan.PlaceLow(KernelName, "descriptor table", gdt, 0x1000);
        // Everything the kernel is handed lies below 4 GiB; memory beyond it the kernel maps itself. The tables come before
        // what has no bound, so that they lie well below where the decompressor puts its trampoline.
        var cr3 = is64Bit ? BootCpu.IdentityMap(plan, KernelName, BootPlan.FourGiB, user: false) : 0;
        var pageAddress = plan.AllocateLow(KernelName, "boot_params", BootParamsSize, 0x1000);
        var commandLineAddress = plan.PlaceLow(KernelName, "command line", commandLine, 16);

        page[TypeOfLoader] = LoaderUndefined;
        U32(page, CmdLinePtr, (uint)commandLineAddress);
        U64(page, AcpiRsdpAddr, plan.Context.RsdpAddress);
        U64(page, SetupData, 0);
        PlaceInitrd(plan, page, initrdMax);
        WriteMemoryMap(plan, page);
        plan.Write(pageAddress, page);
        plan.Start = state =>
        {
            if (is64Bit) BootCpu.LongMode(state, cr3, gdtAddress, gdt.Length, code, data, entry);
            else BootCpu.ProtectedMode(state, gdtAddress, gdt.Length, code, data, entry);
            state.Gpr[6] = pageAddress; // RSI
        };
    }

    private void PlaceInitrd(BootPlan plan, byte[] page, uint max)
    {
        page.AsSpan(RamdiskImage, 8).Clear();
        if (Initrd.IsEmpty) return;
        // The kernel frees it by whole pages, so nothing else may be in the last one.
        if (!plan.Memory.TryAllocate(((uint)Initrd.Length + 0xFFFUL) & ~0xFFFUL, 0x1000, HighMemory, (ulong)max + 1, highest: true, InitrdName, out var address))
        {
            plan.Problem(InitrdName, "initrd_addr_max", $"no room for its {Initrd.Length} bytes between 1 MiB and 0x{max:x}, the highest address this kernel takes it at; {plan.Memory.Describe()}. Give the machine more memory, or a smaller initrd.");
            return;
        }

        plan.Write(address, Initrd);
        U32(page, RamdiskImage, (uint)address);
        U32(page, RamdiskSize, (uint)Initrd.Length);
    }

    private void WriteMemoryMap(BootPlan plan, byte[] page)
    {
        var map = plan.Context.MemoryMap;
        var inPage = Math.Min(map.Length, E820MaxEntriesZeropage);
        page[E820Entries] = (byte)inPage;
        for (var i = 0; i < inPage; i++) WriteE820(page.AsSpan(E820Table + i * E820EntrySize), map[i]);
        var contiguous = map.Where(e => e.Type == MemoryMapType.Ram && e.Start <= HighMemory && e.Start + e.Length > HighMemory).Select(e => e.Start + e.Length - HighMemory).FirstOrDefault();
        U32(page, AltMemK, (uint)Math.Min(contiguous >> 10, uint.MaxValue));
        if (map.Length == inPage) return;

        // The rest goes into a SETUP_E820_EXT entry of the setup_data list.
        var rest = new byte[SetupDataHeader + (map.Length - inPage) * E820EntrySize];
        U32(rest, 8, SetupE820Ext);
        U32(rest, 12, (uint)(rest.Length - SetupDataHeader));
        for (var i = inPage; i < map.Length; i++) WriteE820(rest.AsSpan(SetupDataHeader + (i - inPage) * E820EntrySize), map[i]);
        U64(page, SetupData, plan.PlaceLow(KernelName, "setup_data", rest, 16));
    }

    private static void WriteE820(Span<byte> to, MemoryMapEntry entry)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(to, entry.Start);
        BinaryPrimitives.WriteUInt64LittleEndian(to[8..], entry.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(to[16..], (uint)entry.Type);
    }

    private static void U16(byte[] to, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(to.AsSpan(offset), value);

    private static void U32(byte[] to, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(to.AsSpan(offset), value);

    private static void U64(byte[] to, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(to.AsSpan(offset), value);
}
