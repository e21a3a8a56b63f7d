using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// A guest that does a random list of operations: it calls routines of a few pages, changes the constants in them by stores of all kinds,
/// makes whole routines anew, and writes data that lies between them.
/// </summary>
internal sealed class PatchProgram
{
    private const ulong Pages = 0x70000, List = 0x100000, Templates = 0x90000;

    // add edx, imm32, so many times, and RET.
    private const int Step = 6, MostSteps = 12, Slot = 96, PageCount = 3, Slots = PageCount * 4096 / Slot;

    private readonly List<(ulong Kind, ulong Address, ulong Value)> _operations = [];
    private readonly int[] _steps = new int[Slots];

    public PatchProgram(Random random, int operations)
    {
        // Few are called often, so that they become warm and hot.
        var favourites = Enumerable.Range(0, 6).Select(_ => random.Next(Slots)).ToArray();
        for (var i = 0; i < Slots; i++) _steps[i] = random.Next(1, MostSteps);
        for (var i = 0; i < operations; i++)
        {
            var slot = random.Next(4) == 0 ? random.Next(Slots) : favourites[random.Next(favourites.Length)];
            var step = random.Next(_steps[slot]);
            var constant = At(slot) + (ulong)(step * Step + 2);
            var value = (ulong)random.NextInt64();
            // Where the next step follows, eight bytes are its opcode and half its constant too.
            var eight = step + 1 < _steps[slot] ? (uint)value | 0xC281UL << 32 | value >> 48 << 48 : (uint)value | 0xC3UL << 32 | value >> 40 << 40;
            var beside = At(slot) + (ulong)(MostSteps * Step + 2 + random.Next(Slot - MostSteps * Step - 10));
            _operations.Add(random.Next(24) switch
            {
                < 9 => (0, At(slot), (ulong)random.Next(1, 40)),
                9 => (1, constant, value),
                10 => (2, constant, eight),
                11 => (3, constant, value),
                12 => (4, constant, value),
                13 => (5, constant, value),
                14 => (6, At(slot), Templates + (ulong)(slot * Slot)),
                < 18 => (2, beside, value),
                < 20 => (4, beside, value),
                20 => (5, beside, value),
                21 => (7, beside, value),
                22 => (8, beside, value & 7),
                _ => (0, At(slot) + (ulong)(step * Step), 1),
            });
        }
    }

    /// <summary>Writes the program, which counts in R12 what it has done.</summary>
    public static void Write(Assembler a, Action<string> mark)
    {
        a.mov(rbx, List);
        mark("next");
        a.inc(r12);
        a.mov(rax, __qword_ptr[rbx]);
        a.mov(rsi, __qword_ptr[rbx + 8]);
        a.mov(rcx, __qword_ptr[rbx + 16]);
        a.add(rbx, 24);
        a.jmp(__qword_ptr[rax * 8 + (long)(List - 0x1000)]);
    }

    /// <summary>Puts all that it needs into memory.</summary>
    public void Prepare(SystemGuest guest)
    {
        for (var slot = 0; slot < Slots; slot++)
        {
            guest.Bytes(At(slot), Routine(slot));
            guest.Bytes(Templates + (ulong)(slot * Slot), Routine(slot));
        }

        Action<Assembler>[] kinds =
        [
            a => { var again = a.CreateLabel(); a.Label(ref again); a.call(rsi); a.dec(ecx); a.jne(again); },
            a => a.mov(__dword_ptr[rsi], ecx),
            a => a.mov(__qword_ptr[rsi], rcx),
            a => a.mov(__word_ptr[rsi + 1], cx),
            a => a.mov(__byte_ptr[rsi + 3], cl),
            a => a.@lock.add(__dword_ptr[rsi], ecx),
            a => { a.mov(rdi, rsi); a.mov(rsi, rcx); a.mov(ecx, MostSteps * Step); a.rep.movsb(); },
            a => { a.movq(xmm1, rcx); a.movq(__qword_ptr[rsi], xmm1); a.add(__dword_ptr[rsi + 4], 3); a.inc(__byte_ptr[rsi]); },
            a => { a.mov(rdi, rsi); a.mov(eax, ecx); a.rep.stosb(); },
            a => a.hlt(),
        ];
        for (var kind = 0; kind < kinds.Length; kind++)
        {
            var address = SystemGuest.Routines + 0x8000 + (ulong)kind * 64;
            guest.Place(address, 64, (a, _) => { kinds[kind](a); a.jmp(guest["next"]); });
            guest.Write(List - 0x1000 + (ulong)kind * 8, address);
        }

        var at = List;
        foreach (var (kind, address, value) in _operations.Append((9UL, 0UL, 0UL)))
        {
            guest.Write(at, kind);
            guest.Write(at + 8, address);
            guest.Write(at + 16, value);
            at += 24;
        }
    }

    private static ulong At(int slot) => Pages + (ulong)(slot * Slot);

    private byte[] Routine(int slot)
    {
        var code = new byte[MostSteps * Step];
        for (var i = 0; i < _steps[slot]; i++) (code[i * Step], code[i * Step + 1], code[i * Step + 2]) = (0x81, 0xC2, (byte)(slot + i));
        code[_steps[slot] * Step] = 0xC3;
        return code;
    }
}
