using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// A loop of random blocks, each of which is mostly followed by the next: integer, vector and x87 accesses around registers that move a
/// little each round, pushes in one block and pops in another. No flag is left undefined.
/// </summary>
internal sealed class TraceProgram(Random random)
{
    private static readonly AssemblerRegister64[] s_values = [rax, rdx, rsi, rdi, r11, r13, r14, r15];

    private static readonly AssemblerRegister64[] s_bases = [rbx, rbx, rbp, rcx, r10];

    private int _pushed, _stacked;

    /// <summary>Writes the program. RBX and RBP are where it works, R12 how often.</summary>
    public void Write(Assembler a)
    {
        var loop = a.CreateLabel();
        var asides = new List<(Label Aside, Label Back)>();
        var parts = random.Next(2, 6);
        a.fninit();
        a.mov(r9d, random.Next(4));
        a.Label(ref loop);
        a.lea(rcx, __[rbx + random.Next(64)]);
        a.mov(r10, rbx);
        for (var part = 0; part < parts; part++)
        {
            for (var i = random.Next(2, 9); i > 0; i--) Add(a);
            Label aside = a.CreateLabel(), back = a.CreateLabel();
            if (random.Next(5) == 0)
            {
                a.jmp(back);
                a.ud2();
            }
            else
            {
                a.add(r8b, 0x25);
                if (random.Next(2) == 0) a.jc(aside);
                else a.jo(aside);
                asides.Add((aside, back));
            }

            a.Label(ref back);
            a.nop();
        }

        for (; _pushed > 0; _pushed--) a.pop(Value());
        for (; _stacked > 0; _stacked--) a.fstp(__qword_ptr[rbx + 8]);
        if (random.Next(2) == 0) a.push(rax);
        a.add(rbx, random.Next(1, 5) * 8);
        a.add(rbp, random.Next(16));
        a.dec(r12);
        a.jne(loop);
        a.hlt();
        foreach (var (aside, back) in asides)
        {
            var label = aside;
            a.Label(ref label);
            a.inc(__dword_ptr[rbp + 4]);
            a.jmp(back);
        }
    }

    private void Add(Assembler a)
    {
        switch (random.Next(26))
        {
            case 0 or 1: a.mov(Value(), Memory()); break;
            case 2 or 3: a.mov(Memory(), Value()); break;
            case 4: a.add(Value(), Memory()); break;
            case 5: a.adc(Memory(), Value()); break;
            case 6: a.sub(__dword_ptr[Place()], 77); break;
            case 7: a.inc(__byte_ptr[Place()]); break;
            case 8: a.cmp(__word_ptr[Place()], ax); break;
            case 9: a.movzx(esi, __byte_ptr[Place()]); break;
            case 10: a.xchg(Memory(), Value()); break;
            case 11: a.movups(xmm1, __xmmword_ptr[Place()]); break;
            case 12: a.movups(__xmmword_ptr[Place()], xmm2); break;
            case 13: a.paddq(xmm2, xmm1); break;
            case 14: a.vmovups(ymm1, __ymmword_ptr[Place()]); break;
            case 15: a.movq(__qword_ptr[Place()], xmm1); break;
            case 16: a.paddd(xmm1, __xmmword_ptr[0x10000 + 16 * random.Next(200)]); break;
            case 17: a.add(__qword_ptr[0x10000 + random.Next(0x1100)], rdx); break;
            case 18:
                a.push(Value());
                _pushed++;
                break;
            case 19 when _pushed > 0:
                a.pop(Value());
                _pushed--;
                break;
            case 20 when _stacked < 6:
                a.fild(__dword_ptr[Place()]);
                _stacked++;
                break;
            case 21 when _stacked > 0:
                a.fstp(__qword_ptr[Place()]);
                _stacked--;
                break;
            case 22: a.lea(Value(), __[rbx + random.Next(64)]); break;
            case 23: a.mov(Value(), __qword_ptr[rsp + random.Next(64)]); break;
            default: a.sbb(Value(), Value()); break;
        }
    }

    private AssemblerRegister64 Value() => s_values[random.Next(s_values.Length)];

    private AssemblerMemoryOperand Memory() => __qword_ptr[Place()];

    private AssemblerMemoryOperand Place()
    {
        var (register, displacement) = (s_bases[random.Next(s_bases.Length)], random.Next(-40, 120));
        return random.Next(6) == 0 ? register + r9 * 8 + displacement : register + displacement;
    }
}
