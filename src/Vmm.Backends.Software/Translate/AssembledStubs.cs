using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Code that translated code calls with a site in ECX, and that has the flags, RAX and RDX to itself meanwhile. R14 and R15 are free
/// everywhere.
/// </summary>
internal abstract class AssembledStubs(Emitter e)
{
    /// <summary>What is on the stack above the base register: the return address alone, or flags too.</summary>
    protected const int Called = 8, Pushed = 16;

    /// <summary>RAX, RDX, the site and the flags are kept. Memory is at <see cref="Pushed"/> from here on.</summary>
    protected static void Begin(Assembler a)
    {
        a.mov(__qword_ptr[rsp + RegisterMap.Place(RegisterMap.Rax) + Called], rax);
        a.mov(__qword_ptr[rsp + RegisterMap.Place(RegisterMap.Rdx) + Called], rdx);
        a.mov(__dword_ptr[rsp + StateLayout.Site + Called], ecx);
        a.lahf();
        a.seto(al);
        a.push(rax);
    }

    /// <summary>All are as they were, but for the site.</summary>
    protected static void End(Assembler a)
    {
        a.pop(rax);
        a.add(al, 127);
        a.sahf();
        a.mov(rax, __qword_ptr[rsp + RegisterMap.Place(RegisterMap.Rax) + Called]);
        a.mov(rdx, __qword_ptr[rsp + RegisterMap.Place(RegisterMap.Rdx) + Called]);
    }

    protected int Assemble(Assembler a)
    {
        var start = e.At;
        a.Assemble(e, (ulong)start);
        return start;
    }
}
