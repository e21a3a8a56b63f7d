using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// More routines than a small memory for code holds, which go on to one another by branches of all kinds: within a page, to other pages, indirect ones,
/// calls and returns; short loops that become hot; and now and then a routine changes a constant in another one.
/// </summary>
internal sealed class MeshProgram(Random random)
{
    private const ulong Routines = 0x100000, Table = 0x90000;

    private const int Slot = 128, Count = 94 * 32;

    /// <summary>The start: R12 times a random routine, and up to 24 that follow. What they compute is in the registers and around 0x10000.</summary>
    public static void Write(Assembler a)
    {
        var loop = a.CreateLabel();
        a.mov(rbx, 0x10000);
        a.Label(ref loop);
        a.imul(r13, r13, 1103515245);
        a.add(r13, 12345);
        a.rorx(rax, r13, 20);
        a.and(eax, 2047);
        a.mov(ebp, 24);
        a.call(__qword_ptr[rax * 8 + (long)Table]);
        a.dec(r12);
        a.jne(loop);
    }

    /// <summary>Puts the routines into memory.</summary>
    public void Prepare(params ReadOnlySpan<SystemGuest> guests)
    {
        for (var i = 0; i < Count; i++)
        {
            using var stream = new MemoryStream();
            var a = new Assembler(64);
            Write(a, i);
            a.Assemble(new StreamCodeWriter(stream), At(i));
            if (stream.Length > Slot) throw new InvalidOperationException("A routine is too long.");
            foreach (var guest in guests)
            {
                guest.Bytes(At(i), stream.ToArray());
                guest.Write(Table + (ulong)i * 8, At(i));
            }
        }
    }

    private static ulong At(int routine) => Routines + (ulong)(routine * Slot);

    private void Write(Assembler a, int number)
    {
        // Every routine begins with a constant that others change.
        a.add(edx, 0x01010101 + number);
        Label onwards = a.CreateLabel(), loop = a.CreateLabel();
        a.dec(ebp);
        a.jg(onwards);
        a.ret();
        a.Label(ref onwards);
        for (var i = random.Next(1, 5); i > 0; i--) Add(a);
        if (random.Next(12) == 0) a.mov(__dword_ptr[At(random.Next(Count)) + 2], edx);
        if (random.Next(6) == 0)
        {
            a.mov(ecx, random.Next(2, 30));
            a.Label(ref loop);
            a.add(__qword_ptr[rbx + rcx * 8], rdx);
            a.xor(eax, __dword_ptr[rbx + random.Next(16) * 4]);
            a.dec(ecx);
            a.jne(loop);
        }

        // Of the same page mostly.
        var near = At(number & ~31 | random.Next(32));
        var far = At(random.Next(Count));
        switch (random.Next(6))
        {
            case 0: a.jmp(near); break;
            case 1: a.jmp(far); break;
            case 2:
                a.test(edx, 1 << random.Next(16));
                a.je(near);
                a.jmp(far);
                break;
            case 3:
                a.mov(eax, edx);
                a.and(eax, 2047);
                a.jmp(__qword_ptr[rax * 8 + (long)Table]);
                break;
            case 4:
                a.call(far);
                a.jmp(near);
                break;
            default:
                a.test(dl, 4);
                a.jne(far);
                a.call(near);
                a.ret();
                break;
        }
    }

    private void Add(Assembler a)
    {
        switch (random.Next(7))
        {
            case 0: a.add(rsi, __qword_ptr[rbx + random.Next(64) * 8]); break;
            case 1: a.mov(__qword_ptr[rbx + random.Next(64) * 8], rdx); break;
            case 2: a.rol(edx, (byte)random.Next(1, 31)); a.add(edx, esi); break;
            case 3: a.push(rdx); a.pop(rdi); break;
            case 4: a.movups(xmm1, __xmmword_ptr[rbx + random.Next(64) * 8]); a.paddd(xmm2, xmm1); break;
            case 5: a.lea(edx, __[rdx + rsi * 4 + 77]); break;
            default: a.inc(__dword_ptr[0x10FFE]); break;
        }
    }
}
