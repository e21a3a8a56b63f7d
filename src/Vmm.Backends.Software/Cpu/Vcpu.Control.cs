using Vmm.Core.X86;
using static Vmm.Backends.Software.Cpu.ControlBits;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Control registers: what may be written, and what follows.</summary>
internal sealed partial class Vcpu
{
    /// <summary>MOV to CR0 and LMSW. False: #GP(0).</summary>
    public bool TrySetCr0(ulong value)
    {
        ref var s = ref S;
        if (value >> 32 != 0) return false;
        value = (value & (Cr0Pe | Cr0Mp | Cr0Em | Cr0Ts | Cr0Ne | Cr0Wp | Cr0Am | Cr0Nw | Cr0Cd | Cr0Pg)) | Cr0Et;
        if ((value & Cr0Pg) != 0 && (value & Cr0Pe) == 0) return false;
        if ((value & Cr0Nw) != 0 && (value & Cr0Cd) == 0) return false;
        var changed = value ^ s.Cr0;
        if ((changed & Cr0Pg) != 0)
        {
            if ((value & Cr0Pg) != 0)
            {
                if ((s.Efer & EferLme) != 0)
                {
                    if ((s.Cr4 & Cr4Pae) == 0 || (s.Seg[1].Attributes & 0x2000) != 0) return false;
                    s.Efer |= EferLma;
                }
                else if ((s.Cr4 & Cr4Pae) != 0 && !TryLoadPdptes(s.Cr3))
                {
                    return false;
                }
            }
            else
            {
                // Paging cannot be switched off from 64-bit mode, nor with PCIDs on.
                if (Code64 || (s.Cr4 & Cr4Pcide) != 0) return false;
                s.Efer &= ~EferLma;
            }
        }
        else if ((changed & (Cr0Cd | Cr0Nw)) != 0 && (value & Cr0Pg) != 0 && (s.Cr4 & Cr4Pae) != 0 && !LongMode && !TryLoadPdptes(s.Cr3))
        {
            return false;
        }

        s.Cr0 = value;
        if ((changed & Cr0Pe) != 0 && (value & Cr0Pe) == 0)
        {
            // Back in real mode: privilege is gone, segment limits and bases stay until they are loaded.
            s.Cpl = 0;
        }

        if ((changed & (Cr0Pg | Cr0Wp | Cr0Pe)) != 0) FlushTranslations(true);
        UpdateMode();
        return true;
    }

    /// <summary>MOV to CR3. False: #GP(0).</summary>
    public bool TrySetCr3(ulong value)
    {
        ref var s = ref S;
        var tagged = (s.Cr4 & Cr4Pcide) != 0;
        // Bit 63 asks to keep the translations of the new PCID.
        var keep = tagged && value >> 63 != 0;
        if (tagged) value &= ~(1UL << 63);
        if (LongMode)
        {
            if (value >> PhysicalBits != 0) return false;
        }
        else
        {
            value = (uint)value;
            if ((s.Cr0 & Cr0Pg) != 0 && (s.Cr4 & Cr4Pae) != 0 && !TryLoadPdptes(value)) return false;
        }

        SwitchSpace(tagged ? value & 0xFFF : 0, keep);
        s.Cr3 = value;
        return true;
    }

    /// <summary>MOV to CR4. False: #GP(0).</summary>
    public bool TrySetCr4(ulong value)
    {
        ref var s = ref S;
        if ((value & ~_cr4Mask) != 0) return false;
        var changed = value ^ s.Cr4;
        if (LongMode && ((value & Cr4Pae) == 0 || (changed & Cr4La57) != 0)) return false;
        if ((changed & value & Cr4Pcide) != 0 && (!LongMode || (s.Cr3 & 0xFFF) != 0)) return false;
        const ulong paging = Cr4Pae | Cr4Pse | Cr4Pge | Cr4Smep | Cr4Smap | Cr4Pke | Cr4Pcide | Cr4La57;
        if ((changed & (Cr4Pae | Cr4Pse | Cr4Pge | Cr4Smep)) != 0 && (s.Cr0 & Cr0Pg) != 0 && (value & Cr4Pae) != 0 && !LongMode && !TryLoadPdptes(s.Cr3)) return false;
        s.Cr4 = value;
        if ((changed & paging) != 0) FlushTranslations(true);
        UpdateMode();
        return true;
    }

    /// <summary>XSETBV for XCR0. False: #GP(0).</summary>
    public bool TrySetXcr0(ulong value)
    {
        if ((value & 1) == 0 || (value & ~Model.Xcr0Mask) != 0 || (value & 6) == 4) return false;
        S.Xcr0 = value;
        UpdateMode();
        return true;
    }

    private readonly ulong _cr4Mask;

    // PAE paging keeps the four page-directory-pointer entries inside the processor; reserved bits in a present one are #GP.
    private bool TryLoadPdptes(ulong cr3)
    {
        var reserved = ~((1UL << PhysicalBits) - 1) | 0x1E6;
        Span<ulong> entries = stackalloc ulong[4];
        for (var i = 0; i < 4; i++)
        {
            entries[i] = ReadTable<ulong>((cr3 & 0xFFFFFFE0) + (uint)i * 8);
            if ((entries[i] & 1) != 0 && (entries[i] & reserved) != 0) return false;
        }

        entries.CopyTo(Pdptes);
        return true;
    }
}
