using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// RDTSC by the host's own counter, for a short while after the clock was last asked; then by the clock. The result is in EAX and EDX; RCX,
/// R14 and R15 are lost.
/// </summary>
internal sealed class TimeStub : AssembledStubs
{
    /// <param name="e">Writes it.</param>
    /// <param name="otherwise">Asks the clock.</param>
    public TimeStub(Emitter e, int otherwise) : base(e)
    {
        var a = new Assembler(64);
        var late = a.CreateLabel();
        a.lahf();
        a.seto(al);
        a.mov(r14d, eax);
        a.rdtsc();
        a.shl(rdx, 32);
        a.or(rax, rdx);
        a.sub(rax, __qword_ptr[rsp + StateLayout.TimeBase + Called]);
        a.cmp(rax, __qword_ptr[rsp + StateLayout.TimeLimit + Called]);
        a.jae(late);
        a.imul(rax, __qword_ptr[rsp + StateLayout.TimeScale + Called]);
        a.shr(rax, 32);
        a.add(rax, __qword_ptr[rsp + StateLayout.TimeValue + Called]);
        a.mov(__qword_ptr[rsp + StateLayout.TimeLast + Called], rax);
        a.mov(r15d, eax);
        a.mov(rdx, rax);
        a.shr(rdx, 32);
        a.mov(eax, r14d);
        a.add(al, 127);
        a.sahf();
        a.mov(eax, r15d);
        a.ret();
        a.Label(ref late);
        a.mov(eax, r14d);
        a.add(al, 127);
        a.sahf();
        a.jmp((ulong)otherwise);
        Code = Assemble(a);
    }

    /// <summary>Where it is.</summary>
    public int Code { get; }
}
