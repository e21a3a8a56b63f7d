// Processor states that boot protocols ask for (Intel SDM vol. 3, 3.4.5 segment descriptors, 4.5 paging in IA-32e mode).
using System.Buffers.Binary;
using Vmm.Core.X86;

namespace Vmm.Core.Boot;

/// <summary>Puts a processor into the mode that a loader wants, with tables in guest memory to match the hidden state.</summary>
internal static class BootCpu
{
    private const int Es = 0, Cs = 1, Ss = 2, Gs = 5;
    private const ulong CrPe = 1 << 0, CrEt = 1 << 4, CrNe = 1 << 5, CrPg = 1UL << 31;
    private const ulong Cr4Pae = 1 << 5, Cr4OsFxsr = 1 << 9, Cr4OsXmmExcpt = 1 << 10;
    private const ulong EferLme = 1 << 8, EferLma = 1 << 10;
    private const ulong PagePresent = 1, PageWritable = 2, PageUser = 4, PageLarge = 0x80;
    private const int PageSize = 4096, EntriesPerTable = 512;

    /// <summary>The address space that one top-level entry, and so an identity map made here, can cover.</summary>
    public const ulong MaxIdentityMap = 512UL << 30;

    /// <summary>A global descriptor table: each segment at its selector, null elsewhere.</summary>
    public static byte[] Gdt(params ReadOnlySpan<SegmentState> segments)
    {
        var last = 0;
        foreach (var segment in segments) last = Math.Max(last, segment.Selector & ~7);
        var table = new byte[last + 8];
        foreach (var segment in segments) BinaryPrimitives.WriteUInt64LittleEndian(table.AsSpan(segment.Selector & ~7), Descriptor(segment));
        return table;
    }

    /// <summary>Plans 2 MiB pages that map [0, end), at least 4 GiB and at most <see cref="MaxIdentityMap"/>, to itself.</summary>
    /// <returns>CR3; zero with a problem noted if there is no room.</returns>
    public static ulong IdentityMap(BootPlan plan, string image, ulong end, bool user)
    {
        var directories = (int)((Math.Clamp(end, BootPlan.FourGiB, MaxIdentityMap) + (1 << 30) - 1) >> 30);
        var bytes = new byte[(2 + directories) * PageSize];
        var cr3 = plan.AllocateLow(image, "page tables", (uint)bytes.Length, PageSize);
        if (cr3 == 0) return 0;
        var flags = PagePresent | PageWritable | (user ? PageUser : 0);
        void Set(int table, int index, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(table * PageSize + index * 8), value);
        Set(0, 0, (cr3 + PageSize) | flags);
        for (var d = 0; d < directories; d++)
        {
            Set(1, d, (cr3 + (ulong)(2 + d) * PageSize) | flags);
            for (var i = 0; i < EntriesPerTable; i++) Set(2 + d, i, (ulong)(d * EntriesPerTable + i) << 21 | flags | PageLarge);
        }

        plan.Write(cr3, bytes);
        return cr3;
    }

    /// <summary>64-bit mode on an identity map.</summary>
    public static void LongMode(VcpuState state, ulong cr3, ulong gdt, int gdtLength, SegmentState code, SegmentState data, ulong rip)
    {
        ProtectedMode(state, gdt, gdtLength, code, data, rip);
        state.Cr0 |= CrPg;
        state.Cr3 = cr3;
        state.Cr4 = Cr4Pae;
        state.Efer = EferLme | EferLma;
    }

    /// <summary>Protected mode without paging. Interrupts are off and the interrupt table is empty, so that an early exception is a triple fault, not a jump into nothing.</summary>
    public static void ProtectedMode(VcpuState state, ulong gdt, int gdtLength, SegmentState code, SegmentState data, ulong rip)
    {
        state.SetPowerOn();
        Array.Clear(state.Gpr);
        state.Segments.AsSpan(Es, Gs + 1).Fill(data);
        state.Segments[Cs] = code;
        state.Tr = new SegmentState(0, 0x67, 0, 0x8B);
        state.Gdt = new DescriptorTable(gdt, (ushort)(gdtLength - 1));
        state.Idt = new DescriptorTable(0, 0);
        state.Cr0 = CrPe | CrEt;
        state.Rip = rip;
        state.Rflags = 2;
    }

    /// <summary>Real mode with caches on, the stack in segment zero and the interrupt table at zero.</summary>
    public static void RealMode(VcpuState state, ushort codeSegment, ushort ip)
    {
        state.SetPowerOn();
        Array.Clear(state.Gpr);
        state.Segments[Cs] = SegmentState.RealMode(codeSegment) with { Attributes = 0x9B };
        state.Idt = new DescriptorTable(0, 0x3FF);
        state.Cr0 = CrEt;
        state.Rip = ip;
    }

    /// <summary>Turns x87 and SSE on, as an operating system would have: for bare programs.</summary>
    public static void EnableSse(VcpuState state)
    {
        state.Cr0 |= CrNe | 2;
        state.Cr4 |= Cr4OsFxsr | Cr4OsXmmExcpt;
        // FCW as FNINIT leaves it: all exceptions masked, 64-bit precision.
        (state.Xsave[0], state.Xsave[1]) = (0x7F, 0x03);
    }

    private static ulong Descriptor(SegmentState s)
    {
        ulong limit = (s.Attributes & 0x8000) != 0 ? s.Limit >> 12 : s.Limit;
        return limit & 0xFFFF | (s.Base & 0xFFFFFF) << 16 | (ulong)(s.Attributes & 0xF0FF) << 40 | (limit >> 16 & 0xF) << 48 | (s.Base >> 24 & 0xFF) << 56;
    }
}
