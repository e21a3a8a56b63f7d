using Vmm.Core.Memory;
using Vmm.Core.X86;

namespace Vmm.Backends.Conformance.Guests;

/// <summary>The descriptor tables, TSS and page tables of the suite's guests, in the first 2 MiB.</summary>
public static class GuestTables
{
    public const ulong Gdt = 0x1000, Idt = 0x2000, Tss = 0x3000, Program = 0x8000, Stack = 0x20000, UserStack = 0x28000, InnerStack = 0x30000, IstStack = 0x38000,
        Data = 0x40000, Stubs = 0x50000, Routines = 0x60000, Tables = 0x100000, PageTable = Tables + 0x6000, Free = 0x180000, RamSize = 0x200000;

    public const ushort Code64 = 0x08, DataSelector = 0x10, UserCode32 = 0x1B, UserData = 0x23, UserCode64 = 0x2B, Code32 = 0x30, TssSelector = 0x38, Absent = 0x48;

    /// <summary>Writes the tables and makes the state of a processor that starts at <see cref="Program"/>.</summary>
    /// <param name="memory">At least <see cref="RamSize"/> of RAM from zero.</param>
    /// <param name="state">A power-on state.</param>
    /// <param name="bitness">16, 32 or 64.</param>
    /// <param name="user">Ring 3.</param>
    public static void Write(GuestMemory memory, VcpuState state, int bitness, bool user)
    {
        (state.Rip, state.Gpr[4]) = (Program, bitness == 16 ? 0x7000 : user ? UserStack : Stack);
        state.Segments[1] = SegmentState.RealMode(0) with { Attributes = 0x9B };
        if (bitness == 16) return;
        var isLong = bitness == 64;
        void Descriptor(ushort selector, ulong start, uint limit, ushort attributes) => memory.TryWrite(Gdt + (selector & 0xFFF8u), Pack(start, limit, attributes));
        Descriptor(Code64, 0, uint.MaxValue, 0xA09B);
        Descriptor(DataSelector, 0, uint.MaxValue, 0xC093);
        Descriptor(UserCode32, 0, uint.MaxValue, 0xC0FB);
        Descriptor(UserData, 0, uint.MaxValue, 0xC0F3);
        Descriptor(UserCode64, 0, uint.MaxValue, 0xA0FB);
        Descriptor(Code32, 0, uint.MaxValue, 0xC09B);
        Descriptor(TssSelector, Tss, 0xFFF, 0x8B);
        Descriptor(Absent, 0, uint.MaxValue, 0xC013);
        (state.Gdt, state.Idt) = (new DescriptorTable(Gdt, 0xFF), new DescriptorTable(Idt, 0xFFF));
        (state.Tr, state.Ldt) = (new SegmentState(Tss, 0xFFF, TssSelector, 0x8B), default);
        memory.TryWrite(Tss + 4, isLong ? InnerStack : InnerStack | (ulong)DataSelector << 32);
        if (isLong) memory.TryWrite(Tss + 36, IstStack);

        // The I/O permission bitmap, all zeros, lets ring 3 use the lower ports, the exit port above all: not every KVM keeps IOPL in ring 3.
        memory.TryWrite<ushort>(Tss + 102, 104);
        state.Segments.AsSpan().Fill(new SegmentState(0, uint.MaxValue, user ? UserData : DataSelector, (ushort)(user ? 0xC0F3 : 0xC093)));
        var code = isLong ? SegmentState.Code64(user ? UserCode64 : Code64) : SegmentState.Code32(user ? UserCode32 : Code32);
        state.Segments[1] = user ? code with { Attributes = (ushort)(code.Attributes | 0x60) } : code;

        state.Rflags = 2;
        (state.Cr0, state.Cr4) = (isLong ? 0x80050033UL : 0x00050033, isLong ? 0x6A0UL : 0x600);
        if (isLong) WritePages(memory, state);
    }

    /// <summary>The page-table entry of one of the first 512 pages.</summary>
    public static ulong Entry(ulong address) => PageTable + address / 4096 * 8;

    /// <summary>A segment descriptor.</summary>
    public static ulong Pack(ulong start, uint limit, ushort attributes)
    {
        if ((attributes & 0x8000) != 0) limit >>= 12;
        return (limit & 0xFFFF) | (start & 0xFFFFFF) << 16 | (ulong)(attributes & 0xFF) << 40 | (ulong)((limit >> 16 & 15) | (uint)(attributes & 0xF000) >> 8) << 48 | (start >> 24 & 0xFF) << 56;
    }

    // 4 GiB mapped onto themselves by large pages, the first 2 MiB by small ones.
    private static void WritePages(GuestMemory memory, VcpuState state)
    {
        (state.Efer, state.Cr3) = (0xD01, Tables);
        memory.TryWrite(Tables, Tables + 0x1000 | 7);
        for (ulong i = 0; i < 4; i++) memory.TryWrite(Tables + 0x1000 + i * 8, Tables + 0x2000 + i * 0x1000 | 7);
        for (ulong i = 0; i < 2048; i++) memory.TryWrite(Tables + 0x2000 + i * 8, i << 21 | 0x87);
        memory.TryWrite(Tables + 0x2000, PageTable | 7);
        for (ulong i = 0; i < 512; i++) memory.TryWrite(PageTable + i * 8, i << 12 | 7);
    }
}
