using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Guests;

/// <summary>Short sequences that many programs of the suite have.</summary>
public static class GuestCode
{
    private const uint Apic = 0xFEE00000;

    /// <summary>Ends the program; registers keep their values.</summary>
    public static void End(this Assembler a)
    {
        var self = a.CreateLabel();
        a.@out(TestGuest.ExitPort, al);
        a.Label(ref self);
        a.jmp(self);
    }

    /// <summary>Has the host call what the test gave <see cref="TestGuest.OnSignal"/>, on the vCPU's thread.</summary>
    public static void Signal(this Assembler a) => a.@out(TestGuest.SignalPort, al);

    /// <summary>Waits for ever, in user or kernel mode.</summary>
    public static void Spin(this Assembler a)
    {
        var self = a.CreateLabel();
        a.Label(ref self);
        a.jmp(self);
    }

    /// <summary>Writes a register of the local APIC (flat protected or long mode); clobbers RBX.</summary>
    public static void ApicWrite(this Assembler a, uint offset, uint value)
    {
        a.mov(ebx, Apic + offset);
        if (a.Bitness == 64) a.mov(__dword_ptr[rbx], (int)value);
        else a.mov(__dword_ptr[ebx], (int)value);
    }

    /// <summary>Reads a register of the local APIC into EAX; clobbers RBX.</summary>
    public static void ApicRead(this Assembler a, uint offset)
    {
        a.mov(ebx, Apic + offset);
        if (a.Bitness == 64) a.mov(eax, __dword_ptr[rbx]);
        else a.mov(eax, __dword_ptr[ebx]);
    }

    /// <summary>Lets the local APIC take interrupts; clobbers RBX.</summary>
    public static void ApicEnable(this Assembler a) => a.ApicWrite(0xF0, 0x1FF);

    /// <summary>End of interrupt; clobbers RBX.</summary>
    public static void ApicEoi(this Assembler a) => a.ApicWrite(0xB0, 0);

    /// <summary>WRMSR; clobbers RAX, RCX, RDX.</summary>
    public static void WriteMsr(this Assembler a, uint index, ulong value)
    {
        a.mov(ecx, index);
        a.mov(eax, (uint)value);
        a.mov(edx, (uint)(value >> 32));
        a.wrmsr();
    }

    /// <summary>RDMSR into RAX (64-bit code); clobbers RCX, RDX.</summary>
    public static void ReadMsr(this Assembler a, uint index)
    {
        a.mov(ecx, index);
        a.rdmsr();
        a.shl(rdx, 32);
        a.or(rax, rdx);
    }
}
