using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Benchmarks;

/// <summary>Small endless-enough guest programs, assembled at 0x8000 in 64-bit mode; each halts when done.</summary>
internal static class GuestLoops
{
    private const ulong Address = 0x8000;

    /// <summary>Integer mix: shifts, adds, a multiply and a branch a round.</summary>
    public static byte[] Integer(int rounds) => Assemble(a =>
    {
        var loop = a.CreateLabel();
        a.mov(rcx, rounds);
        a.mov(rax, 0x9E3779B97F4A7C15);
        a.xor(edx, edx);
        a.Label(ref loop);
        a.mov(rbx, rax);
        a.shr(rbx, 13);
        a.xor(rax, rbx);
        a.add(rdx, rax);
        a.lea(rax, __[rax + rax * 4 + 1]);
        a.rol(rax, 7);
        a.sub(rdx, rbx);
        a.test(dl, 1);
        a.cmovne(rbx, rdx);
        a.dec(rcx);
        a.jne(loop);
    });

    /// <summary>Memory: read, add and write back through 1 MiB at 2 MiB.</summary>
    public static byte[] Memory(int rounds) => Assemble(a =>
    {
        var outer = a.CreateLabel();
        var loop = a.CreateLabel();
        a.mov(rcx, rounds / 131072 + 1);
        a.Label(ref outer);
        a.mov(rsi, 0x200000);
        a.mov(edx, 131072);
        a.Label(ref loop);
        a.mov(rax, __[rsi]);
        a.add(rax, rcx);
        a.mov(__[rsi], rax);
        a.add(rsi, 8);
        a.dec(edx);
        a.jne(loop);
        a.dec(rcx);
        a.jne(outer);
    });

    /// <summary>SSE2 packed and scalar double arithmetic.</summary>
    public static byte[] Sse(int rounds) => Assemble(a =>
    {
        var loop = a.CreateLabel();
        a.mov(eax, 3);
        a.cvtsi2sd(xmm0, eax);
        a.unpcklpd(xmm0, xmm0);
        a.mov(eax, 7);
        a.cvtsi2sd(xmm1, eax);
        a.unpcklpd(xmm1, xmm1);
        a.divpd(xmm0, xmm1);
        a.movapd(xmm2, xmm0);
        a.mov(rcx, rounds);
        a.Label(ref loop);
        a.movapd(xmm3, xmm2);
        a.mulpd(xmm3, xmm0);
        a.addpd(xmm2, xmm3);
        a.subpd(xmm2, xmm0);
        a.mulsd(xmm3, xmm1);
        a.pxor(xmm4, xmm3);
        a.paddq(xmm5, xmm4);
        a.dec(rcx);
        a.jne(loop);
    });

    private static byte[] Assemble(Action<Assembler> body)
    {
        var a = new Assembler(64);
        body(a);
        a.cli();
        a.hlt();
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), Address);
        return stream.ToArray();
    }
}
