using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// A loop that calls functions, which call others and themselves: directly, by registers, and by RET alone. Some change where they return to, on
/// the stack, by an alias, or for all to come by writing code. No flag is left undefined.
/// </summary>
internal sealed class CallProgram(Random random)
{
    // What is left out of a caller when a function asks for that: ADD RDX, 5.
    private const int Skipped = 4;

    private static readonly AssemblerRegister64[] s_values = [rax, rdx, r8, r9, r11, r14];

    private readonly Label[] _functions = new Label[6];
    private readonly int[] _released = new int[6];

    /// <summary>Writes the program. RBX is where it works, R12 how often, R13 how deep.</summary>
    public void Write(Assembler a)
    {
        for (var i = 0; i < _functions.Length; i++) (_functions[i], _released[i]) = (a.CreateLabel(), random.Next(5) == 0 ? 8 : 0);
        var loop = a.CreateLabel();
        a.Label(ref loop);
        a.mov(r13d, random.Next(2, 7));
        for (var i = random.Next(1, 4); i > 0; i--)
        {
            Compute(a);
            Call(a, random.Next(_functions.Length));
        }

        a.dec(r12);
        a.jne(loop);
        a.hlt();
        for (var i = 0; i < _functions.Length; i++)
        {
            a.Label(ref _functions[i]);
            Function(a, i);
        }
    }

    private void Function(Assembler a, int number)
    {
        var pushed = random.Next(3);
        for (var i = 0; i < pushed; i++) a.push(Value());
        Compute(a);
        if (random.Next(3) == 0)
        {
            var leave = a.CreateLabel();
            a.dec(r13d);
            a.js(leave);
            Call(a, number);
            if (random.Next(2) == 0) Call(a, number);
            a.inc(r13d);
            a.Label(ref leave);
            a.nop();
        }

        if (number + 1 < _functions.Length && random.Next(2) == 0) Call(a, random.Next(number + 1, _functions.Length));
        for (var i = 0; i < pushed; i++) a.pop(Value());
        Return(a, number);
    }

    private void Return(Assembler a, int number)
    {
        Label over = a.CreateLabel(), back = a.CreateLabel();
        switch (random.Next(8))
        {
            case 0:
                a.test(al, (sbyte)(1 << random.Next(7)));
                a.je(over);
                a.add(__qword_ptr[rsp], Skipped);
                a.Label(ref over);
                a.nop();
                break;
            case 1:
                // By an address that nobody can follow.
                a.mov(__qword_ptr[rbx], rsp);
                a.mov(rdi, __qword_ptr[rbx]);
                a.test(dl, (sbyte)(1 << random.Next(7)));
                a.je(over);
                a.add(__qword_ptr[rdi], Skipped);
                a.Label(ref over);
                a.mov(rdi, rax);
                break;
            case 2:
                a.pop(rsi);
                a.push(rsi);
                break;
            case 3:
                a.mov(rsi, rsp);
                a.add(rsp, 8);
                a.jmp(__qword_ptr[rsi]);
                return;
            case 4:
                // Seldom, so that code gets hot in between: the constant of an instruction.
                a.test(r12d, 0x7FF);
                a.jne(over);
                a.lea(rsi, __[back]);
                a.inc(__byte_ptr[rsi - 1]);
                a.Label(ref over);
                a.mov(dl, 3);
                a.Label(ref back);
                a.nop();
                break;
            case 5:
                a.mov(__dword_ptr[rsp - 12], eax);
                break;
        }

        if (_released[number] != 0) a.ret((short)_released[number]);
        else a.ret();
    }

    private void Call(Assembler a, int number)
    {
        var back = a.CreateLabel();
        if (_released[number] != 0) a.push(rdx);
        switch (random.Next(6))
        {
            case 0:
                a.lea(rsi, __[_functions[number]]);
                a.call(rsi);
                break;
            case 1:
                // As a return.
                a.lea(rsi, __[back]);
                a.push(rsi);
                a.lea(rsi, __[_functions[number]]);
                a.push(rsi);
                a.ret();
                a.Label(ref back);
                break;
            case 2:
                // By a call whose return address is overwritten, as kernels do.
                Label thunk = a.CreateLabel(), trap = a.CreateLabel();
                a.lea(rsi, __[back]);
                a.push(rsi);
                a.lea(rsi, __[_functions[number]]);
                a.call(thunk);
                a.Label(ref trap);
                a.pause();
                a.jmp(trap);
                a.Label(ref thunk);
                a.mov(__qword_ptr[rsp], rsi);
                a.ret();
                a.Label(ref back);
                break;
            default:
                a.call(_functions[number]);
                break;
        }

        a.add(rdx, 5);
        a.xor(rax, rdx);
    }

    private void Compute(Assembler a)
    {
        for (var i = random.Next(1, 5); i > 0; i--)
        {
            switch (random.Next(7))
            {
                case 0: a.mov(Value(), __qword_ptr[rbx + 8 * random.Next(16)]); break;
                case 1: a.mov(__qword_ptr[rbx + 8 * random.Next(1, 16)], Value()); break;
                case 2: a.adc(Value(), Value()); break;
                case 3: a.lea(Value(), __[r12 + r13 * 2 + 5]); break;
                case 4: a.xor(Value(), Value()); break;
                case 5: a.mov(__dword_ptr[rsp - 4 * random.Next(8, 20)], eax); break;
                default: a.sub(Value(), random.Next(-99, 99)); break;
            }
        }
    }

    private AssemblerRegister64 Value() => s_values[random.Next(s_values.Length)];
}
