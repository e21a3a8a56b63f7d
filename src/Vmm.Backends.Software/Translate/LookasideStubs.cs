using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Called where translated code did not find an address in the TLB or in the cache of targets: looks behind it (<see cref="Lookaside"/>),
/// puts what it finds there into its place, and returns to try again. If nothing is found, or it was in its place already, C# is called.
/// All are called with a site in ECX and the address in R14. A write to a page with decoded code that meets none of it is let
/// through each time by itself, as long as there is one processor: then RCX is zero, and R15 is what the TLB would have had.
/// </summary>
internal sealed class LookasideStubs : AssembledStubs
{
    private readonly int[] _accesses = new int[3 * 2 * 2];
    private readonly int[] _interpreted = new int[TargetCache.Views];
    private readonly int[] _linked = new int[TargetCache.Views];

    public LookasideStubs(Emitter e, Stubs stubs) : base(e)
    {
        for (var i = 0; i < _accesses.Length; i++) _accesses[i] = EmitAccess(i >> 2, (i & 2) != 0, (i & 1) != 0 ? stubs.VectorAccess : stubs.Access);
        for (var view = 0; view < TargetCache.Views; view++)
        {
            _interpreted[view] = EmitTarget(view, stubs.Interpret);
            _linked[view] = EmitTarget(view, stubs.Link);
        }
    }

    /// <summary>For an access that the TLB did not cover.</summary>
    public int Access(int view, bool write, bool vectors) => _accesses[view << 2 | (write ? 2 : 0) | (vectors ? 1 : 0)];

    /// <summary>For an indirect branch, which the interpreter does if it leads to unknown code.</summary>
    public int Indirect(int view) => _interpreted[view];

    /// <summary>For a direct branch, which leaves if it leads to unknown code.</summary>
    public int Direct(int view) => _linked[view];

    private int EmitAccess(int view, bool write, int otherwise)
    {
        var a = new Assembler(64);
        var (slow, marked) = (a.CreateLabel(), a.CreateLabel());
        Begin(a);
        Refill(a, view, write, slow, marked);
        if (write) a.mov(ecx, 1);
        End(a);
        a.ret();
        if (write)
        {
            a.Label(ref marked);
            PassBeside(a, slow);
            End(a);
            a.ret();
        }

        a.Label(ref slow);
        End(a);
        a.mov(ecx, __dword_ptr[rsp + StateLayout.Site + Called]);
        a.jmp((ulong)otherwise);
        return Assemble(a);
    }

    // A write to a marked page. Behind the call are two jumps, of 12 bytes, and then how many bytes lie behind the first, and how it must be aligned.
    private static void PassBeside(Assembler a, Label slow)
    {
        a.mov(rcx, __qword_ptr[rsp + Pushed - Called]);
        a.mov(ecx, __dword_ptr[rcx + 12]);
        a.mov(edx, ecx);
        a.shr(edx, 16);
        a.test(edx, r14d);
        a.jne(slow);
        a.movzx(ecx, cx);
        a.mov(eax, r14d);
        a.and(eax, 0xFFF);
        a.add(ecx, eax);
        a.cmp(ecx, 0xFFF);
        a.ja(slow);
        // How many granules.
        a.shr(ecx, CodeMap.GranuleShift);
        a.shr(eax, CodeMap.GranuleShift);
        a.sub(ecx, eax);
        a.inc(ecx);
        a.xor(r15, Tlb.MarkedBit);
        a.mov(__qword_ptr[rsp + StateLayout.Return + Pushed], r15);
        a.mov(rdx, r14);
        a.and(rdx, -4096);
        a.add(rdx, r15);
        a.mov(eax, edx);
        a.shr(eax, 12);
        a.and(eax, Tlb.Marks - 1);
        a.shl(eax, 4);
        a.cmp(rdx, __qword_ptr[rsp + rax + VcpuMemory.MarksOffset + Pushed]);
        a.jne(slow);
        a.mov(rax, __qword_ptr[rsp + rax + VcpuMemory.MarksOffset + 8 + Pushed]);
        a.mov(rdx, __qword_ptr[rax]);
        a.rorx(r15, r14, CodeMap.GranuleShift);
        a.shrx(rdx, rdx, r15);
        a.bzhi(rdx, rdx, rcx);
        a.jne(slow);
        a.dec(__dword_ptr[rax + 8]);
        a.js(slow);
        a.mov(r15, __qword_ptr[rsp + StateLayout.Return + Pushed]);
        a.xor(ecx, ecx);
    }

    private int EmitTarget(int view, int otherwise)
    {
        var a = new Assembler(64);
        var slow = a.CreateLabel();
        var keys = TargetCache.KeyOffset(view, 0);
        Begin(a);
        a.rorx(rcx, r14, TargetCache.HashRotation);
        a.add(ecx, r14d);
        a.and(ecx, TargetCache.Size - 1);
        a.shl(ecx, 4);
        // The first two slots stay empty while something waits, which another thread sees to.
        a.cmp(ecx, 16);
        a.jbe(slow);
        a.mov(rdx, r14);
        a.mov(r15, __qword_ptr[rsp + rcx + keys + Pushed]);
        a.add(r15, rdx);
        a.je(slow);
        if (view == Tlb.User)
        {
            a.mov(eax, __dword_ptr[rsp + StateLayout.SpaceTag + Pushed]);
            a.or(eax, view);
        }
        else
        {
            a.mov(eax, ((int)AddressSpaces.Global << 2) + view);
        }

        Find(a, VcpuMemory.TargetLookasideOffset, TargetCache.LookasideSets, slow);
        a.mov(__qword_ptr[rsp + rcx + keys + 8 + Pushed], r15);
        a.mov(rdx, r14);
        a.neg(rdx);
        a.mov(__qword_ptr[rsp + rcx + keys + Pushed], rdx);
        if (view == Tlb.User)
        {
            a.lea(edx, __[rcx + keys]);
            Note(a, StateLayout.TargetsJournaled, VcpuMemory.TargetJournalOffset, TargetCache.JournalSize);
        }

        End(a);
        a.ret();
        a.Label(ref slow);
        End(a);
        a.mov(ecx, __dword_ptr[rsp + StateLayout.Site + Called]);
        a.lea(rsp, __[rsp + Called]);
        a.jmp((ulong)otherwise);
        return Assemble(a);
    }
}
