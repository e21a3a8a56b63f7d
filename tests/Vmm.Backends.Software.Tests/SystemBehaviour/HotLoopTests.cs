using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// Random loops that walk over memory, by both engines: over pages in order, in disorder, absent, read-only, not yet accessed, mapped anew in
/// mid-loop with and without CR3 or INVLPG, and over the loop's own code. Registers, flags, memory and page tables must be the same at the end.
/// </summary>
public sealed class HotLoopTests
{
    private const ulong Walked = 0x100000, Memory = 0x200000, Routine = SystemGuest.Routines;
    private const int Pages = 64;

    private static readonly AssemblerRegister64[] s_bases = [rbx, rsi, rdi, rbp, r8, r10];
    private static readonly AssemblerRegister64[] s_indexes = [rcx, r9, r14];
    private static readonly AssemblerRegister64[] s_values = [rax, rdx, r11, r15];

    public static TheoryData<int> Parts => [.. Enumerable.Range(0, 8)];

    [Theory]
    [MemberData(nameof(Parts))]
    public void RandomLoops_BothEngines_EndAlike(int part)
    {
        var seeds = int.TryParse(Environment.GetEnvironmentVariable("VMM_LOOPS"), out var asked) ? asked : 400;
        var left = 0;
        for (var seed = part; seed < seeds; seed += Parts.Count())
        {
            using var interpreted = Build<Interpreted>(seed);
            using var translated = Build<Translated>(seed);
            var (one, other) = (interpreted.Run(), translated.Run());
            Assert.True(one.Kind == other.Kind, $"seed {seed}: {one}, {other}");
            var (expected, actual) = (interpreted.State, translated.State);
            Assert.True(expected.Gpr.AsSpan().SequenceEqual(actual.Gpr), $"seed {seed}: registers {string.Join(' ', expected.Gpr.Select((v, i) => v == actual.Gpr[i] ? "" : $"{i}: {v:x} {actual.Gpr[i]:x}"))}, RIP {expected.Rip:x} {actual.Rip:x}");
            Assert.True((expected.Rip, expected.Rflags, expected.Cr2) == (actual.Rip, actual.Rflags, actual.Cr2), $"seed {seed}: RIP {expected.Rip:x} {actual.Rip:x}, RFLAGS {expected.Rflags:x} {actual.Rflags:x}, CR2 {expected.Cr2:x} {actual.Cr2:x}");
            Assert.True(expected.Xsave.AsSpan().SequenceEqual(actual.Xsave), $"seed {seed}: XSAVE images differ at {expected.Xsave.AsSpan().CommonPrefixLength(actual.Xsave)}");
            for (ulong page = 0; page < 4 << 20; page += 4096)
            {
                var at = FirstDifference(interpreted, translated, page);
                Assert.True(at < 0, $"seed {seed}: memory at 0x{page + (ulong)at:x}");
            }

            if (expected.Rip < SystemGuest.Handlers) left++;
        }

        // Some must reach the end, others fault on the way.
        Assert.True(left > 0);
    }

    // R10, R11, R14 and R15, which the translator keeps in memory and copies of in its own registers, written in turns.
    [Fact]
    public void RegistersInTheState_WrittenInTurns_AreNotTakenFromOldCopies()
    {
        static ulong[] Run<TEngine>() where TEngine : IEngine
        {
            using var guest = new SystemGuest<TEngine>(64, a =>
            {
                var loop = a.CreateLabel();
                a.Label(ref loop);
                a.xor(r8, r11);
                a.lea(r11, __[r13 + rsi + 0x37F1B762]);
                a.or(r10b, r11b);
                a.mov(r14, rax);
                a.sub(r14, r10);
                a.mov(r15, r14);
                a.lea(r14, __[r15 + r11 * 2 + 5]);
                a.add(r15d, r14d);
                a.xchg(r10, r15);
                a.mov(r11w, r10w);
                a.add(rsi, r11);
                a.add(r13, r14);
                a.imul(rax, r15);
                a.dec(rcx);
                a.jne(loop);
            });
            for (var i = 0; i < 16; i++)
            {
                if (i != 4) guest[i] = 0x9E37_79B9_7F4A_7C15 * (ulong)(i + 1);
            }

            guest[1] = 50;
            guest.RunToEnd();
            return [.. guest.State.Gpr];
        }

        Assert.Equal(Run<Interpreted>(), Run<Translated>());
    }

    private static int FirstDifference(SystemGuest one, SystemGuest other, ulong page)
    {
        Span<byte> a = stackalloc byte[4096], b = stackalloc byte[4096];
        Assert.True(one.Bus.Memory.TryRead(page, a) && other.Bus.Memory.TryRead(page, b));
        var same = a.CommonPrefixLength(b);
        return same == 4096 ? -1 : same;
    }

    private static SystemGuest<TEngine> Build<TEngine>(int seed) where TEngine : IEngine
    {
        var random = new Random(seed);
        var starts = s_bases.Select(_ => Walked + (ulong)random.Next(8, Pages * 4096 - 64) & (random.Next(3) == 0 ? ~0UL : ~15UL)).ToArray();
        var guest = new SystemGuest<TEngine>(64, a => Loop(a, random, starts));
        guest.Place(Routine, 64, (a, _) =>
        {
            a.push(rax);
            a.add(__qword_ptr[rbx], rdx);
            a.pop(rax);
            a.ret();
        });
        // Pages in order make long runs; others are looked up one by one.
        var order = Enumerable.Range(0, Pages).ToArray();
        if (random.Next(3) == 0) random.Shuffle(order);
        var rare = random.Next(3) switch { 0 => 0, 1 => 60, _ => 15 };
        for (var i = 0; i < Pages; i++)
        {
            var entry = Memory + (ulong)order[i] * 4096 | 0x63;
            if (rare > 0 && random.Next(rare) == 0) entry &= random.Next(4) switch { 0 => ~1UL, 1 => ~2UL, 2 => ~0x20UL, _ => ~0x40UL };
            guest.SetPage(Walked + (ulong)i * 4096, entry);
        }

        for (ulong at = 0; at < Pages * 4096; at += 8) guest.Write(Memory + at, (ulong)random.NextInt64());
        for (var i = 0; i < 16; i++) guest[i] = (ulong)random.NextInt64();
        for (var i = 0; i < starts.Length; i++) guest[s_bases[i].Value - Register.RAX] = starts[i];
        foreach (var register in s_indexes) guest[register.Value - Register.RAX] = (ulong)random.Next(-16, 64);
        guest[4] = random.Next(2) == 0 ? SystemGuest.Stack : Walked + (ulong)random.Next(512, Pages * 512) * 8;
        guest[12] = (ulong)random.Next(20, 600);
        guest[13] = (ulong)random.Next(5, 40);
        guest.State.Cr0 |= 1 << 16;
        guest.State.Cr4 |= 0x600;
        // With exceptions masked, or the interpreter would do all of it.
        BitConverter.TryWriteBytes(guest.State.Xsave, (ushort)0x37F);
        BitConverter.TryWriteBytes(guest.State.Xsave.AsSpan(24), 0x1F80);
        return guest;
    }

    private static void Loop(Assembler a, Random random, ulong[] starts)
    {
        var loop = a.CreateLabel();
        a.Label(ref loop);
        // Some have few places, so that registers of the host's keep what leads there.
        var places = Enumerable.Range(0, random.Next(1, 4)).Select(_ => Keepable(random)).ToArray();
        var keeps = random.Next(3) == 0;
        for (var left = random.Next(3, 14); left > 0; left--)
        {
            if (keeps) AddKept(a, random, places);
            else Add(a, random);
        }

        if (random.Next(2) == 0) Remap(a, random, starts[random.Next(starts.Length)] & ~0xFFFUL);
        a.dec(r12);
        a.jne(loop);
    }

    private static void Add(Assembler a, Random random)
    {
        T Pick<T>(T[] from) => from[random.Next(from.Length)];
        var (at, value, index) = (Pick(s_bases), Pick(s_values), Pick(s_indexes));
        var displacement = random.Next(3) == 0 ? random.Next(-4, 12) * 8 : random.Next(-40, 90);
        var place = random.Next(4) == 0 ? __qword_ptr[at + index * (1 << random.Next(4)) + displacement] : __qword_ptr[at + displacement];
        switch (random.Next(33))
        {
            case 0 or 1 or 2: a.mov(value, place); break;
            case 3 or 4 or 5: a.mov(place, value); break;
            case 6: a.add(place, value); break;
            case 7: a.adc(value, place); break;
            case 8: a.movzx(eax, __byte_ptr[at + displacement]); break;
            case 9: a.movdqu(xmm1, __xmmword_ptr[at + displacement]); break;
            case 10: a.movdqa(xmm2, __xmmword_ptr[at + (displacement & ~15)]); break;
            case 11: a.movups(__xmmword_ptr[at + displacement], xmm1); break;
            case 12: a.paddq(xmm2, __xmmword_ptr[at + (displacement & ~15)]); break;
            case 13: a.@lock.xadd(place, value); break;
            case 14:
                a.push(value);
                a.pop(Pick(s_values));
                break;
            case 15 or 16 or 17: a.add(at, random.Next(5) == 0 ? random.Next(-300, 300) : random.Next(-3, 6) * 8); break;
            case 18: a.add(index, random.Next(-2, 4)); break;
            case 19:
                var over = a.CreateLabel();
                a.test(value, 1 << random.Next(8));
                a.je(over);
                a.mov(value, place);
                a.add(value, 3);
                a.Label(ref over);
                a.nop();
                break;
            case 20: a.call(Routine); break;
            case 21: a.movq(rax, xmm2); break;
            case 23:
                // A distance to another pointer, and back.
                var far = Pick(s_bases);
                a.mov(value, at);
                a.sub(value, far);
                a.add(value, far);
                a.mov(rdx, __qword_ptr[value + displacement]);
                break;
            case 24:
                a.lea(value, __[at + index * (1 << random.Next(4)) + displacement]);
                a.add(__qword_ptr[value + 8 * random.Next(4)], rdx);
                break;
            case 25:
                a.mov(value, Pick(s_indexes));
                a.add(value, at);
                a.mov(__byte_ptr[value], al);
                a.movzx(eax, __word_ptr[value + random.Next(-8, 8)]);
                break;
            case 26 or 27: FloatingPoint(a, random, at + displacement); break;
            case 28: a.movapd(__xmmword_ptr[at + index * (1 << random.Next(4)) + (displacement & ~15)], xmm1); break;
            case 29: a.psadbw(xmm1, __xmmword_ptr[at + index + (displacement & ~15)]); break;
            case 30:
                // Two loops in one.
                var inner = a.CreateLabel();
                a.mov(eax, random.Next(2, 20));
                a.Label(ref inner);
                a.fadd(st0, st1);
                a.movaps(xmm3, xmm2);
                a.dec(eax);
                a.jne(inner);
                break;
            case 31: a.cmp(value, at); break;
            case 22: a.inc(__dword_ptr[Walked + (ulong)random.Next(Pages * 4096 - 8)]); break;
            // A write beside the loop's own code now and then.
            default: a.mov(__byte_ptr[SystemGuest.Start + 0xF00], al); break;
        }
    }

    private static AssemblerMemoryOperand Keepable(Random random)
    {
        var at = s_bases[random.Next(s_bases.Length)];
        return at.Value == Register.R10 || random.Next(3) > 0 ? at + s_indexes[random.Next(2)] * (1 << Math.Max(random.Next(6) - 2, 0)) : at + 0;
    }

    private static void AddKept(Assembler a, Random random, AssemblerMemoryOperand[] places)
    {
        var at = places[random.Next(places.Length)] + random.Next(-40, 90);
        var value = s_values[random.Next(2)];
        switch (random.Next(12))
        {
            case 0: a.mov(value, __qword_ptr[at]); break;
            case 1: a.mov(__qword_ptr[at], value); break;
            case 2: a.add(__qword_ptr[at], value); break;
            case 3: a.sbb(value, __qword_ptr[at]); break;
            case 4: a.movdqu(xmm1, __xmmword_ptr[at]); break;
            case 5: a.movups(__xmmword_ptr[at], xmm1); break;
            case 6: a.paddq(xmm1, xmm2); break;
            case 7: a.movq(xmm2, value); break;
            case 8: a.pxor(xmm2, __xmmword_ptr[places[0] + 16]); break;
            case 9: a.lea(rax, __[rdx + r9 * 2 + 5]); break;
            case 10: a.mov(dl, __byte_ptr[at]); break;
            default: a.add(random.Next(3) == 0 ? s_bases[random.Next(5)] : s_indexes[random.Next(2)], random.Next(-1, 3) * 8); break;
        }
    }

    // What is loaded is mostly taken off again; the pointers are stored now and then.
    private static void FloatingPoint(Assembler a, Random random, AssemblerMemoryOperand at)
    {
        if (random.Next(2) == 0) a.fild(__qword_ptr[at]);
        else a.fld(__dword_ptr[at]);
        for (var left = random.Next(4); left > 0; left--)
        {
            switch (random.Next(7))
            {
                case 0: a.fadd(st0, st1); break;
                case 1: a.fmul(__qword_ptr[at + 8]); break;
                case 2: a.fxch(st0, st1); break;
                case 3: a.add(rdx, random.Next(100)); break;
                case 4: a.mov(__dword_ptr[at], edx); break;
                case 5: a.fnstsw(ax); break;
                default: a.fsqrt(); break;
            }
        }

        switch (random.Next(8))
        {
            case 0: break;
            case 1: a.fnstenv(__[at]); break;
            case 2: a.fistp(__dword_ptr[at + 4]); break;
            case 3: a.fstp(__tbyte_ptr[at]); break;
            default: a.fstp(__qword_ptr[at - 8]); break;
        }
    }

    // Now and then two pages change places.
    private static void Remap(Assembler a, Random random, ulong one)
    {
        var over = a.CreateLabel();
        var other = Walked + (ulong)random.Next(Pages) * 4096;
        a.dec(r13);
        a.jne(over);
        a.mov(r13d, random.Next(3, 30));
        a.mov(rdx, __qword_ptr[SystemGuest.Entry(one)]);
        a.mov(r15, __qword_ptr[SystemGuest.Entry(other)]);
        a.mov(__qword_ptr[SystemGuest.Entry(one)], r15);
        a.mov(__qword_ptr[SystemGuest.Entry(other)], rdx);
        if (random.Next(2) == 0)
        {
            a.invlpg(__byte_ptr[one]);
            a.invlpg(__byte_ptr[other]);
        }
        else
        {
            a.mov(rax, cr3);
            a.mov(cr3, rax);
        }

        a.Label(ref over);
        a.nop();
    }
}
