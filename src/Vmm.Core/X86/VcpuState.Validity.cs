// Intel SDM vol. 3, 2.5 (control registers), 3.4.3 and 27.3.1 (what a processor's segment registers can hold).
using static Vmm.Core.X86.CpuFeature;

namespace Vmm.Core.X86;

public sealed partial class VcpuState
{
    private const ulong Pe = 1, Pg = 1UL << 31, Pae = 1 << 5, VirtualFlag = 1 << 17, Sce = 1, Lme = 1 << 8, Lma = 1 << 10, Nxe = 1 << 11;

    /// <summary>
    /// Looks for a value that no processor of a model could hold, whatever it executed: reserved bits, modes that exclude each other,
    /// segments of a wrong kind, addresses that are not canonical. What one could hold but a backend copes with (an RIP beyond a limit, page tables
    /// nowhere) passes. MSRs that the model does not know are not looked at. Every backend asks it in <see cref="Backends.IVcpu.SetState"/>.
    /// </summary>
    /// <param name="model">The CPU the state shall be loaded into.</param>
    /// <returns>The field and its value, to be shown; null when there is none.</returns>
    public string? FindImpossible(CpuModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        var (paging, isLong, code64) = ((Cr0 & Pg) != 0, (Efer & Lma) != 0, (Efer & Lma) != 0 && (Segments[1].Attributes & 0x2000) != 0);
        var canonicalBits = model.Has(La57) ? 57 : 48;
        if (Cr0 >> 32 != 0 || (paging && (Cr0 & Pe) == 0)) return Told("CR0", Cr0);
        if (Cr3 >> model.PhysicalAddressBits != 0) return Told("CR3", Cr3);
        if ((Cr4 & ~model.Cr4Mask) != 0 || (isLong && (Cr4 & Pae) == 0)) return Told("CR4", Cr4);
        if (Cr8 > 15) return Told("CR8", Cr8);
        if ((Efer & ~(Sce | Lme | Lma | Nxe)) != 0 || isLong != ((Efer & Lme) != 0 && paging)) return Told("EFER", Efer);
        if ((Xcr0 & 1) == 0 || (Xcr0 & ~model.Xcr0Mask) != 0 || (Xcr0 & 6) == 4) return Told("XCR0", Xcr0);
        if ((Rflags & VirtualFlag) != 0 && ((Cr0 & Pe) == 0 || isLong)) return Told("RFLAGS", Rflags);
        if (code64 ? !IsCanonical(canonicalBits, Rip) : Rip >> 32 != 0) return Told("RIP", Rip);
        if (!IsCanonical(canonicalBits, Gdt.Base)) return Told("the GDT's base", Gdt.Base);
        if (!IsCanonical(canonicalBits, Idt.Base)) return Told("the IDT's base", Idt.Base);
        if ((Debug[6] | Debug[7]) >> 32 != 0) return Told("DR6 or DR7", Debug[6] | Debug[7]);
        if (MpState > MpState.Halted) return Told("the activity state", (ulong)MpState);
        if (InjectedVector is < -1 or > 255) return Told("the injected vector", (ushort)InjectedVector);
        if (InterruptShadow > 2) return Told("the interrupt shadow", InterruptShadow);
        for (var i = 0; i < 6; i++)
        {
            if (!IsPossible(i, Segments[i], isLong, canonicalBits)) return $"{"ECSDFG"[i]}S ({Shown(Segments[i])})";
        }

        if (Ldt.IsPresent && ((Ldt.Attributes & 0x1F) != 2 || !IsScaled(Ldt))) return $"LDTR ({Shown(Ldt)})";
        if (!IsCanonical(canonicalBits, Ldt.Base)) return Told("LDTR's base", Ldt.Base);
        if (Tr.IsPresent && ((Tr.Attributes & 0x1F) is not (0xB or 3) || !IsScaled(Tr))) return $"TR ({Shown(Tr)})";
        if (!IsCanonical(canonicalBits, Tr.Base)) return Told("TR's base", Tr.Base);
        foreach (var (index, value) in Msrs)
        {
            // SYSENTER_ESP, SYSENTER_EIP, LSTAR, CSTAR, KERNEL_GS_BASE.
            if (index is 0x175 or 0x176 or 0xC0000082 or 0xC0000083 or 0xC0000102 && !IsCanonical(canonicalBits, value)) return Told($"MSR 0x{index:x}", value);
            if (index == 0x277 && !IsPageAttributeTable(value)) return Told("the page attribute table", value);
        }

        return null;
    }

    private static bool IsCanonical(int bits, ulong address) => (long)(address << (64 - bits)) >> (64 - bits) == (long)address;

    // Real and protected mode are not told apart by attributes: right after a switch the segments are still those of the mode before.
    private static bool IsPossible(int register, SegmentState s, bool isLong, int canonicalBits)
    {
        // FS and GS keep their bases whether they are usable or not.
        if (register >= 4 ? !IsCanonical(canonicalBits, s.Base) : s.Base >> 32 != 0) return false;
        if (!s.IsPresent) return register != 1;
        var (type, isCode) = (s.Attributes & 0xF, (s.Attributes & 8) != 0);
        if ((s.Attributes & 0x10) == 0 || !IsScaled(s)) return false;
        return register switch
        {
            1 => !isLong || (s.Attributes & 0x6000) != 0x6000,
            2 => !isCode && (type & 2) != 0,
            _ => !isCode || (type & 2) != 0,
        };
    }

    // Eight memory types: UC, WC, WT, WP, WB, UC- (Intel SDM vol. 3, table 12-10).
    private static bool IsPageAttributeTable(ulong value)
    {
        for (; value != 0; value >>= 8)
        {
            if ((value & 0xFF) is 2 or 3 or > 7) return false;
        }

        return true;
    }

    // Limits are in bytes; with page granularity the low 12 bits are ones, without it there are but 20 bits.
    private static bool IsScaled(SegmentState s) => (s.Attributes & 0x8000) != 0 ? (s.Limit & 0xFFF) == 0xFFF : s.Limit >> 20 == 0;

    private static string Told(string field, ulong value) => $"{field} (0x{value:x})";

    private static string Shown(SegmentState s) => $"base 0x{s.Base:x}, limit 0x{s.Limit:x}, selector 0x{s.Selector:x}, attributes 0x{s.Attributes:x}";
}
