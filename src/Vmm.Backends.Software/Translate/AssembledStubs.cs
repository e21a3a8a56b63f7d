using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Mmu;
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

    /// <summary>
    /// Puts into the TLB what the table behind it has of the address in R14. All registers that stubs may change are lost.
    /// </summary>
    /// <param name="a">Takes the code.</param>
    /// <param name="view">The set of the TLB.</param>
    /// <param name="write">Its array.</param>
    /// <param name="slow">Where it goes on if nothing is there, or the TLB has it.</param>
    /// <param name="marked">Where it goes on, with the addend in R15, if it is a page with code that is to be written.</param>
    protected static void Refill(Assembler a, int view, bool write, Label slow, Label marked)
    {
        var done = a.CreateLabel();
        var (tags, kind) = (StateLayout.TlbTags(view, write), view * 2 + (write ? 1 : 0));
        a.mov(rdx, r14);
        a.and(rdx, -4096);
        a.mov(ecx, edx);
        a.shr(ecx, 12);
        a.and(ecx, (int)Tlb.Size - 1);
        a.mov(r15, __qword_ptr[rsp + rcx * 8 + tags + Pushed]);
        a.add(r15, rdx);
        a.je(slow);
        if (kind != 0) a.or(rdx, kind);
        // In the lower half is what belongs to an address space.
        a.mov(eax, (int)AddressSpaces.Global << 2);
        a.test(r14, r14);
        a.cmovns(eax, __dword_ptr[rsp + StateLayout.SpaceTag + Pushed]);
        Find(a, VcpuMemory.TlbLookasideOffset, Tlb.LookasideSets, slow);
        if (write)
        {
            a.test(r15d, Tlb.MarkedBit);
            a.jne(marked);
        }

        a.mov(__qword_ptr[rsp + rcx * 8 + tags + Tlb.Size * 8 + Pushed], r15);
        a.mov(rdx, r14);
        a.and(rdx, -4096);
        a.neg(rdx);
        a.mov(__qword_ptr[rsp + rcx * 8 + tags + Pushed], rdx);
        a.test(r14, r14);
        a.js(done);
        a.lea(edx, __[rcx * 8 + tags]);
        Note(a, StateLayout.TlbJournaled, VcpuMemory.TlbJournalOffset, Tlb.JournalSize);
        a.Label(ref done);
    }

    /// <summary>The value of the key in RDX and the tag in EAX into R15. RDX is lost.</summary>
    protected static void Find(Assembler a, int table, int sets, Label slow)
    {
        var found = a.CreateLabel();
        a.xor(r15d, r15d);
        a.crc32(r15, rdx);
        a.and(r15d, sets - 1);
        a.shl(r15d, 6);
        a.lea(r15, __[rsp + r15 + table + Pushed]);
        for (var way = 0; way < Lookaside.Ways; way++)
        {
            var next = way + 1 < Lookaside.Ways ? a.CreateLabel() : slow;
            a.cmp(rdx, __qword_ptr[r15 + way * 8]);
            a.jne(next);
            a.cmp(eax, __dword_ptr[r15 + Lookaside.Tags + way * 4]);
            a.jne(next);
            a.mov(r15, __qword_ptr[r15 + Lookaside.Values + way * 8]);
            if (way + 1 == Lookaside.Ways) break;
            a.jmp(found);
            a.Label(ref next);
        }

        a.Label(ref found);
    }

    /// <summary>Lists the entry at the offset in EDX. RAX is lost.</summary>
    protected static void Note(Assembler a, int count, int journal, int size)
    {
        var full = a.CreateLabel();
        a.mov(eax, __dword_ptr[rsp + count + Pushed]);
        a.cmp(eax, size);
        a.jae(full);
        a.mov(__dword_ptr[rsp + rax * 4 + journal + Pushed], edx);
        a.Label(ref full);
        a.inc(eax);
        a.mov(__dword_ptr[rsp + count + Pushed], eax);
    }

    protected int Assemble(Assembler a)
    {
        var start = e.At;
        a.Assemble(e, (ulong)start);
        return start;
    }
}
