using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Mmu;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// REP MOVS and REP STOS upwards, within a page each and where the TLB or the table behind it has that, by the host's own. ECX is zero afterwards; or it is the site
/// and nothing was done, for the interpreter to do all.
/// </summary>
internal sealed class StringStubs : AssembledStubs
{
    private readonly int[] _stubs = new int[TargetCache.Views * 2 * 4];

    public StringStubs(Emitter e) : base(e)
    {
        for (var view = 0; view < TargetCache.Views; view++)
        {
            foreach (var shift in (ReadOnlySpan<int>)[0, 2, 3])
            {
                _stubs[Number(view, false, shift)] = Emit(view, false, shift);
                _stubs[Number(view, true, shift)] = Emit(view, true, shift);
            }
        }
    }

    /// <summary>The code for a view, MOVS or STOS, and the binary logarithm of an element's size; zero if there is none.</summary>
    public int Of(int view, bool moves, int shift) => _stubs[Number(view, moves, shift)];

    private static int Number(int view, bool moves, int shift) => (view * 2 + (moves ? 1 : 0)) * 4 + shift;

    private int Emit(int view, bool moves, int shift)
    {
        var a = new Assembler(64);
        var (again, from, to, slow, done) = (a.CreateLabel(), a.CreateLabel(), a.CreateLabel(), a.CreateLabel(), a.CreateLabel());
        Begin(a);
        a.test(__dword_ptr[rsp + StateLayout.SystemFlags + Pushed], (int)Flags.DF);
        a.jne(slow);
        a.Label(ref again);
        // Guest RCX.
        a.cmp(r11, 4096 >> shift);
        a.ja(slow);
        a.mov(ecx, r11d);
        if (shift != 0) a.shl(ecx, (byte)shift);
        a.test(ecx, ecx);
        a.je(done);
        if (moves) Find(a, rsi, r14, StateLayout.TlbTags(view, false), from, slow);
        Find(a, rdi, r15, StateLayout.TlbTags(view, true), to, slow);
        a.mov(ecx, r11d);
        a.add(rdi, r15);
        if (moves)
        {
            a.add(rsi, r14);
            if (shift == 0) a.rep.movsb();
            else if (shift == 2) a.rep.movsd();
            else a.rep.movsq();
            a.sub(rsi, r14);
        }
        else
        {
            a.mov(rax, __qword_ptr[rsp + RegisterMap.Place(RegisterMap.Rax) + Pushed]);
            if (shift == 0) a.rep.stosb();
            else if (shift == 2) a.rep.stosd();
            else a.rep.stosq();
        }

        a.sub(rdi, r15);
        a.xor(r11d, r11d);
        a.Label(ref done);
        End(a);
        a.mov(ecx, 0);
        a.ret();
        if (moves)
        {
            a.Label(ref from);
            a.mov(r14, rsi);
            Refill(a, view, false, slow, slow);
            a.jmp(again);
        }

        a.Label(ref to);
        a.mov(r14, rdi);
        Refill(a, view, true, slow, slow);
        a.jmp(again);
        a.Label(ref slow);
        End(a);
        a.mov(ecx, __dword_ptr[rsp + StateLayout.Site + Called]);
        a.ret();
        return Assemble(a);
    }

    // The addend of an address, if so many bytes as ECX says lie in its page. RDX and RAX are lost.
    private static void Find(Assembler a, AssemblerRegister64 address, AssemblerRegister64 addend, int tags, Label miss, Label slow)
    {
        a.lea(rdx, __[address + rcx - 1]);
        a.mov(rax, address);
        a.and(rax, -4096);
        a.xor(rdx, rax);
        a.test(rdx, -4096);
        a.jne(slow);
        a.mov(edx, eax);
        a.shr(edx, 12);
        a.and(edx, (int)Tlb.Size - 1);
        a.add(rax, __qword_ptr[rsp + rdx * 8 + tags + Pushed]);
        a.jne(miss);
        a.mov(addend, __qword_ptr[rsp + rdx * 8 + tags + Tlb.Size * 8 + Pushed]);
    }
}
