using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Permissions that the TSS gives: I/O ports, and interrupts of virtual-8086 mode.</summary>
internal sealed partial class Vcpu
{
    /// <summary>Whether the program may use a port: by IOPL, else by the I/O permission bitmap of the TSS.</summary>
    public bool TryPortAccess(ushort port, int size)
    {
        if (!ProtectedMode || (!Vm86 && S.Cpl <= Iopl)) return true;
        ref var tr = ref S.Seg[7];
        if ((tr.Attributes & 8) == 0 || tr.Limit < 103) return Raise(Vector.GP, 0);
        if (!TryReadSystem<ushort>(Linear(tr.Base + 102), out var map)) return false;
        var at = map + (uint)port / 8;
        if (at + 1 > tr.Limit) return Raise(Vector.GP, 0);
        if (!TryReadSystem<ushort>(Linear(tr.Base + at), out var bits)) return false;
        return (bits >> (port & 7) & ((1 << size) - 1)) == 0 || Raise(Vector.GP, 0);
    }

    /// <summary>INT n in virtual-8086 mode with CR4.VME: through the program's own vectors where the TSS's redirection bitmap says so.</summary>
    public bool TryRedirectVm86(byte vector, ulong back, out bool redirected)
    {
        redirected = false;
        if ((S.Cr4 & ControlBits.Cr4Vme) == 0) return true;
        ref var tr = ref S.Seg[7];
        if (!TryReadSystem<ushort>(Linear(tr.Base + 102), out var map)) return false;
        if (map < 32 || (uint)(map - 32 + vector / 8) > tr.Limit) return true;
        if (!TryReadSystem<byte>(Linear(tr.Base + map - 32u + vector / 8u), out var bits)) return false;
        if ((bits >> (vector & 7) & 1) != 0) return true;
        if (!TryReadSystem<uint>((uint)vector * 4, out var entry)) return false;
        var flags = (ushort)S.Rflags;
        if (Iopl < 3) flags = (ushort)((flags & ~Flags.IF) | Flags.IOPL | ((S.SystemFlags & Flags.VIF) != 0 ? Flags.IF : 0));
        if (!TryPoke(unchecked((ulong)-2), flags) || !TryPoke(unchecked((ulong)-4), S.Seg[1].Selector) || !TryPoke(unchecked((ulong)-6), (ushort)back)) return false;
        AdjustStack(unchecked((ulong)-6));
        S.SystemFlags &= ~(Flags.TF | (Iopl < 3 ? Flags.VIF : Flags.IF));
        S.Seg[1].Selector = (ushort)(entry >> 16);
        S.Seg[1].Base = entry >> 16 << 4;
        S.Rip = (ushort)entry;
        UpdateMode();
        redirected = true;
        return true;
    }

    /// <summary>Whether a store would succeed, without making it.</summary>
    public bool TryProbeWrite(ulong linear, int size)
    {
        if (!TryTranslate(linear, Access.Write, _view, out _, out _)) return false;
        var last = linear + (uint)size - 1;
        if ((S.Mode & CpuMode.CodeMask) != CpuMode.Code64) last = (uint)last;
        // A fault in the second page is reported at its first byte.
        return ((linear ^ last) & ~0xFFFUL) == 0 || TryTranslate(last & ~0xFFFUL, Access.Write, _view, out _, out _);
    }
}
