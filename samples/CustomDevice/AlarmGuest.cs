using Iced.Intel;
using Vmm.Core.Boot;
using static Iced.Intel.AssemblerRegisters;

namespace CustomDevice;

/// <summary>The guest's side, which a driver in an operating system would do just so: find the device, route its interrupt, sleep, handle.</summary>
public static class AlarmGuest
{
    /// <summary>Where the program looks for the clock: its address in 8 bytes, then its interrupt in 4. A kernel would ask ACPI.</summary>
    public const ulong Mailbox = 0x1_0000;

    private const ulong InterruptTable = 0x2_0000, IoApic = 0xFEC0_0000, LocalApic = 0xFEE0_0000;
    private const int CodeSelector = 0x10, SpuriousVector = 0xFF, Vector = 0x40, LevelTriggered = 1 << 15;
    private const ushort Com1 = 0x3F8, PowerManagement = 0x604, PowerOff = 0x3400;

    /// <summary>A program that sets the alarm so many times, prints a '!' at each, and switches the power off.</summary>
    /// <param name="times">How many alarms.</param>
    /// <param name="microseconds">The delay of each.</param>
    public static byte[] Assemble(int times, int microseconds)
    {
        var a = new Assembler(64);
        Label handler = a.CreateLabel(), table = a.CreateLabel(), next = a.CreateLabel(), sleep = a.CreateLabel(), fail = a.CreateLabel();

        // Is it there?
        a.mov(rbp, __qword_ptr[(long)Mailbox]);
        a.cmp(__dword_ptr[rbp + (int)AlarmClock.Id], (int)AlarmClock.Signature);
        a.jne(fail);

        // The gate of the interrupt table (Intel SDM vol. 3, 6.14.1), the local APIC's switch, and the I/O APIC's entry.
        a.lea(rax, __[handler]);
        a.mov(rdi, InterruptTable + Vector * 16);
        a.mov(__word_ptr[rdi], ax);
        a.mov(__word_ptr[rdi + 2], CodeSelector);
        a.mov(__word_ptr[rdi + 4], 0x8E00);
        a.shr(rax, 16);
        a.mov(__word_ptr[rdi + 6], ax);
        a.mov(__qword_ptr[rdi + 8], 0);
        a.lidt(__[table]);
        a.mov(rdi, LocalApic);
        a.mov(__dword_ptr[rdi + 0xF0], 0x100 | SpuriousVector);
        a.mov(rdi, IoApic);
        a.mov(eax, __dword_ptr[(long)Mailbox + 8]);
        a.lea(eax, __[rax * 2 + 0x10]);
        a.mov(__dword_ptr[rdi], eax);
        a.mov(__dword_ptr[rdi + 0x10], Vector | LevelTriggered);

        a.mov(ebx, times);
        a.Label(ref next);
        a.mov(r12d, ebx);
        a.mov(__dword_ptr[rbp + (int)AlarmClock.Delay], microseconds);
        a.Label(ref sleep);
        a.sti(); // takes effect after the next instruction, so that no alarm comes between the two
        a.hlt();
        a.cli();
        a.cmp(ebx, r12d);
        a.je(sleep);
        a.test(ebx, ebx);
        a.jne(next);
        a.Label(ref fail);
        a.mov(dx, PowerManagement);
        a.mov(ax, PowerOff);
        a.@out(dx, ax);
        a.hlt();

        a.Label(ref handler);
        a.mov(__dword_ptr[rbp + (int)AlarmClock.Status], (int)AlarmClock.Rings); // silence it before the end of interrupt, or it comes again
        a.mov(dx, Com1);
        a.mov(al, (byte)'!');
        a.@out(dx, al);
        a.dec(ebx);
        a.mov(rdi, LocalApic);
        a.mov(__dword_ptr[rdi + 0xB0], 0);
        a.iretq();

        a.Label(ref table);
        a.dw(Vector * 16 + 15);
        a.dq(InterruptTable);
        using var code = new MemoryStream();
        a.Assemble(new StreamCodeWriter(code), ProgramBoot.DefaultLoadAddress);
        return code.ToArray();
    }
}
