using System.Buffers.Binary;
using Vmm.Core.X86;

namespace Vmm.Backends.Conformance.Guests;

/// <summary>Valid processor states made from a seed, and in what two states differ.</summary>
public static class RandomState
{
    /// <summary>MSRs that every backend carries, with a value each from random bits.</summary>
    private static MsrValue[] Registers(Random random) =>
    [
        new(0x174, (ushort)random.Next()), new(0x175, Canonical(random)), new(0x176, Canonical(random)), new(0x277, 0x0007_0406_0007_0406 ^ (random.Next(2) == 0 ? 0 : 0x0000_0002_0000_0000UL)),
        new(0xC0000081, (ulong)random.NextInt64()), new(0xC0000082, Canonical(random)), new(0xC0000083, Canonical(random)), new(0xC0000084, (uint)random.Next()), new(0xC0000102, Canonical(random)),
    ];

    /// <summary>Fills a state that has a mode already (by <see cref="GuestTables.Write"/>) with random values.</summary>
    public static void Fill(VcpuState state, int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < 16; i++) state.Gpr[i] = (ulong)random.NextInt64(long.MinValue, long.MaxValue);
        var isLong = (state.Efer & 0x400) != 0;
        // CF, PF, AF, ZF, SF, IF, DF, OF, IOPL, AC, ID.
        state.Rflags = 2 | ((uint)random.Next() & 0x243ED5u);
        state.Rip += (ulong)random.Next(0x1000);
        if (isLong) (state.Segments[4].Base, state.Segments[5].Base) = (Canonical(random), Canonical(random));
        (state.Cr2, state.Cr8) = (Canonical(random), (ulong)random.Next(16));
        if (random.Next(2) == 0) state.Cr0 |= 8;
        for (var i = 0; i < 4; i++) state.Debug[i] = Canonical(random);
        (state.Debug[6], state.Debug[7]) = (0xFFFF0FF0 | (uint)random.Next(16), 0x400 | ((uint)random.Next() & 0x0055_02AAu) | (uint)random.Next(4) << 30);
        FillXsave(state.Xsave, random);
        state.Msrs = Registers(random);
        state.MpState = random.Next(4) == 0 ? MpState.Halted : MpState.Runnable;
        (state.NmiPending, state.NmiBlocked) = (random.Next(4) == 0, random.Next(4) == 0);
    }

    /// <summary>
    /// The differences that matter between a state that was loaded and the one that was read back; empty when there are none. Left out are
    /// registers that the loaded state does not name (MSRs, an APIC that was to be reset) and bytes without a meaning.
    /// </summary>
    public static List<string> Differences(VcpuState expected, VcpuState actual)
    {
        List<string> found = [];
        void Compare(string name, ulong one, ulong other)
        {
            if (one != other) found.Add($"{name}: 0x{one:x} became 0x{other:x}");
        }

        for (var i = 0; i < 16; i++) Compare($"Gpr[{i}]", expected.Gpr[i], actual.Gpr[i]);
        for (var i = 0; i < 6; i++) Segment($"Segments[{i}]", expected.Segments[i], actual.Segments[i]);
        Segment("Ldt", expected.Ldt, actual.Ldt);
        Segment("Tr", expected.Tr, actual.Tr);
        for (var i = 0; i < 8; i++)
        {
            if (i is not (4 or 5)) Compare($"Dr{i}", expected.Debug[i], actual.Debug[i]);
        }

        Compare("Rip", expected.Rip, actual.Rip);
        Compare("Rflags", expected.Rflags, actual.Rflags);
        Compare("Gdt.Base", expected.Gdt.Base, actual.Gdt.Base);
        Compare("Gdt.Limit", expected.Gdt.Limit, actual.Gdt.Limit);
        Compare("Idt.Base", expected.Idt.Base, actual.Idt.Base);
        Compare("Idt.Limit", expected.Idt.Limit, actual.Idt.Limit);
        Compare("Cr0", expected.Cr0, actual.Cr0);
        Compare("Cr2", expected.Cr2, actual.Cr2);
        Compare("Cr3", expected.Cr3, actual.Cr3);
        Compare("Cr4", expected.Cr4, actual.Cr4);
        Compare("Cr8", expected.Cr8, actual.Cr8);
        Compare("Xcr0", expected.Xcr0, actual.Xcr0);
        Compare("Efer", expected.Efer, actual.Efer);
        Compare("ApicBase", expected.ApicBase, actual.ApicBase);
        Compare("MpState", (ulong)expected.MpState, (ulong)actual.MpState);
        Compare("NmiPending", expected.NmiPending ? 1u : 0, actual.NmiPending ? 1u : 0);
        Compare("NmiBlocked", expected.NmiBlocked ? 1u : 0, actual.NmiBlocked ? 1u : 0);
        // Which of the two kinds of shadow it is, not every processor keeps.
        Compare("InterruptShadow", expected.InterruptShadow != 0 ? 1u : 0, actual.InterruptShadow != 0 ? 1u : 0);
        Compare("ExternalInterrupt", expected.ExternalInterrupt ? 1u : 0, actual.ExternalInterrupt ? 1u : 0);
        Compare("InjectedVector", (ushort)expected.InjectedVector, (ushort)actual.InjectedVector);
        if (expected.InjectedVector >= 0)
        {
            Compare("InjectedType", expected.InjectedType, actual.InjectedType);
            Compare("InjectedErrorCode", expected.InjectedHasErrorCode ? expected.InjectedErrorCode : 0, actual.InjectedHasErrorCode ? actual.InjectedErrorCode : 0);
        }

        foreach (var (index, value) in expected.Msrs)
        {
            // The TSC and what hangs on it go on.
            if (index is not (0x10 or 0x3B or 0x6E0)) Compare($"Msr 0x{index:x}", value, Array.Find(actual.Msrs, m => m.Index == index).Value);
        }

        foreach (var (start, length) in new[] { (0, 4), (4, 1), (24, 4), (32, 384) })
        {
            for (var i = start; i < start + length; i++)
            {
                // Of an x87 register 10 bytes of 16.
                if (i is < 32 or >= 160 || (i & 15) < 10) Compare($"Xsave[{i}]", expected.Xsave[i], actual.Xsave[i]);
            }
        }

        if (expected.Apic.AsSpan().ContainsAnyExcept((byte)0))
        {
            for (var i = 0; i < 0x400; i += 16)
            {
                // The version is the backend's own, PPR (0xA0) follows from the rest, the current count (0x390) runs.
                if (i is not (0x30 or 0xA0 or 0x390)) Compare($"Apic[0x{i:x}]", Word(expected.Apic, i), Word(actual.Apic, i));
            }
        }

        return found;

        void Segment(string name, SegmentState one, SegmentState other)
        {
            if (!one.IsPresent && !other.IsPresent) return;
            if (one != other) found.Add($"{name}: {one} became {other}");
        }
    }

    private static uint Word(byte[] bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at));

    private static ulong Canonical(Random random) => (ulong)(random.NextInt64(long.MinValue, long.MaxValue) >> 17);

    private static void FillXsave(byte[] area, Random random)
    {
        Array.Clear(area);
        BinaryPrimitives.WriteUInt16LittleEndian(area, (ushort)(0x37F & ~(random.Next(4) << 8) | random.Next(4) << 10 | 0x300));
        BinaryPrimitives.WriteUInt16LittleEndian(area.AsSpan(2), (ushort)(random.Next(8) << 11 | random.Next(2) << 8));
        area[4] = (byte)random.Next(256);
        BinaryPrimitives.WriteUInt32LittleEndian(area.AsSpan(24), 0x1F80u | (uint)random.Next(4) << 13);
        for (var i = 0; i < 8; i++)
        {
            random.NextBytes(area.AsSpan(32 + i * 16, 10));
            // A normal number: anything else is changed by some hosts on its way.
            area[32 + i * 16 + 7] |= 0x80;
        }

        random.NextBytes(area.AsSpan(160, 256));
        area[512] = 3;
    }
}
