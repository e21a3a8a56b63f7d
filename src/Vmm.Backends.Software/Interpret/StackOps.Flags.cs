using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>PUSHF and POPF (Intel SDM vol. 2, and vol. 3 chapter 21.2 for virtual-8086 mode).</summary>
internal static partial class StackOps
{
    private static ref Op PushFlags<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        // VM and RF never reach the image.
        var image = cpu.S.Rflags & ~(Flags.VM | Flags.RF);
        if (cpu.Vm86 && cpu.Iopl < 3)
        {
            if (Unsafe.SizeOf<T>() != 2 || (cpu.S.Cr4 & ControlBits.Cr4Vme) == 0) return ref cpu.Fault(ref op, Vector.GP);
            image = (image & ~Flags.IF) | Flags.IOPL | ((image & Flags.VIF) != 0 ? Flags.IF : 0);
        }

        if (!cpu.TryPush(Width.Narrow<T>(image))) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op PopFlags<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        ref var s = ref cpu.S;
        if (!cpu.TryPeek<T>(0, out var value)) return ref cpu.Fault(ref op);
        var image = Width.Zero(value);
        var writable = Flags.Arithmetic | Flags.TF | Flags.DF | Flags.NT | Flags.AC | Flags.ID;
        var virtualInterrupts = false;
        if (cpu.Vm86)
        {
            if (cpu.Iopl == 3)
            {
                writable |= Flags.IF;
            }
            else
            {
                if (Unsafe.SizeOf<T>() != 2 || (s.Cr4 & ControlBits.Cr4Vme) == 0) return ref cpu.Fault(ref op, Vector.GP);
                if ((image & Flags.TF) != 0 || ((image & Flags.IF) != 0 && (s.SystemFlags & Flags.VIP) != 0)) return ref cpu.Fault(ref op, Vector.GP);
                virtualInterrupts = true;
            }
        }
        else
        {
            if (s.Cpl == 0) writable |= Flags.IOPL;
            if (s.Cpl <= cpu.Iopl) writable |= Flags.IF;
        }

        if (Unsafe.SizeOf<T>() == 2) writable &= 0xFFFF;
        cpu.AdjustStack((uint)Unsafe.SizeOf<T>());
        var before = s.SystemFlags;
        var after = (before & ~writable) | (image & writable & ~Flags.Arithmetic) | 2;
        if (Unsafe.SizeOf<T>() != 2) after &= ~Flags.RF;
        if (virtualInterrupts) after = (after & ~Flags.VIF) | ((image & Flags.IF) != 0 ? Flags.VIF : 0);
        s.SystemFlags = after & ~Flags.Arithmetic;
        s.SetArithmetic(image);
        var changed = before ^ after;
        if ((changed & (Flags.TF | Flags.AC)) != 0) cpu.UpdateMode();
        if ((changed & after & Flags.IF) != 0) cpu.InterruptsChanged();
        return ref Vcpu.Next(ref op);
    }
}
