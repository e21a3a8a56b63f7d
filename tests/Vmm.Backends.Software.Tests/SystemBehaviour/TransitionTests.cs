using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// System calls, returns and their like in loops, so that the translator does them by itself, until in the tenth round something is out of
/// the ordinary: both engines must end in the same state after as many instructions.
/// </summary>
public sealed class TransitionTests
{
    private const uint Star = 0xC0000081, Lstar = 0xC0000082, Fmask = 0xC0000084, Efer = 0xC0000080;
    private const ulong Entry = 0x70000, Rounds = 30, Usual = 0x0018_0008_0000_0000;

    [Theory]
    [InlineData(Usual, 0x47700UL, 0x202UL), InlineData(Usual, 0x257FD5UL, 0xAD7UL), InlineData(Usual, 0UL, 0x602UL), InlineData(Usual, 0x40000UL, 0x46UL)]
    [InlineData(0xFFFB_FFFF_0000_0000UL, 0x257FD5UL, 0x202UL), InlineData(0x0019_000B_1234_5678UL, 0xFFFF_FFFFUL, 0x202UL), InlineData(Usual, 0x700UL, 0x40202UL), InlineData(Usual, 0x47700UL, 0x40202UL)]
    public void Call_OddSelectorsAndMasks_LoadsThem(ulong star, ulong fmask, ulong flags)
    {
        var guest = Calls(star, fmask, flags, _ => { });
        Assert.Equal(Rounds, guest[3]);
    }

    [Theory]
    [InlineData(0x100UL), InlineData(0x40000UL), InlineData(0x4000UL), InlineData(0x3000UL), InlineData(0x30000UL), InlineData(0x8D5UL), InlineData(0x200400UL), InlineData(0xFFFF_FFFF_FFFF_FE00UL)]
    public void Return_WithOtherFlags_LoadsThem(ulong flags) => Calls(Usual, 0x47700, 0x202, a => { a.mov(rax, flags); a.xor(r11, rax); });

    [Theory]
    [InlineData(0x8000_0000_0000_0000UL), InlineData(0x0000_8000_0000_0000UL), InlineData(0xFFFF_FFFF_FFFF_FFFFUL), InlineData(0x7FFF_FFFF_F000UL)]
    public void Return_ToAnotherAddress_FaultsWhereItMust(ulong target) => Calls(Usual, 0x47700, 0x202, a => a.mov(rcx, target));

    [Theory]
    [InlineData(Efer, 0xD00UL), InlineData(Star, 0x0028_0028_0000_0000UL), InlineData(Lstar, Entry), InlineData(Fmask, 0UL)]
    public void Call_AfterAWriteToItsRegisters_FollowsThem(uint register, ulong value) => Calls(Usual, 0x47700, 0x202, a =>
    {
        a.mov(r13, rcx);
        a.mov(r14, rdx);
        a.mov(ecx, register);
        a.mov(eax, (uint)value);
        a.mov(edx, (uint)(value >> 32));
        a.wrmsr();
        a.mov(rcx, r13);
        a.mov(rdx, r14);
    });

    [Fact]
    public void Return_WithAlignmentChecks_ChecksThem()
    {
        var guest = Calls(Usual, 0x47700, 0x202, a => a.or(r11, 0x40000), g => g.State.Cr0 |= 1 << 18);
        Assert.Equal(17, guest.Trap.Vector);
    }

    [Theory]
    [InlineData(0x100UL), InlineData(0x40000UL), InlineData(0x4000UL), InlineData(0x3000UL), InlineData(0x20000UL), InlineData(0x10000UL), InlineData(0x8D5UL), InlineData(0xFFFF_FFFF_0020_0400UL)]
    public void InterruptReturn_WithOtherFlags_LoadsThem(ulong flags) => Interrupts(a => { a.mov(rax, flags); a.xor(__qword_ptr[rsp + 16], rax); });

    [Theory]
    [InlineData(0, 0x8000_0000_0000_0000UL), InlineData(0, 0x10UL), InlineData(8, (ulong)SystemGuest.UserCode32), InlineData(8, 0x28UL), InlineData(8, 0x7F3UL), InlineData(8, 3UL),
        InlineData(8, 0x12340000_0000_002BUL), InlineData(24, 0x27F00UL), InlineData(24, 0x9000_0000_0000_0000UL), InlineData(32, 0UL), InlineData(32, 3UL), InlineData(32, (ulong)SystemGuest.Data), InlineData(32, 0x73UL)]
    public void InterruptReturn_OtherFrame_IsCheckedAsAlways(int offset, ulong value) => Interrupts(a => { a.mov(rax, value); a.mov(__qword_ptr[rsp + offset], rax); });

    [Theory]
    [InlineData(SystemGuest.UserCode64, 0xA07BUL), InlineData(SystemGuest.UserCode64, 0xA09BUL), InlineData(SystemGuest.UserCode64, 0xC0FBUL), InlineData(SystemGuest.UserCode64, 0xA0FAUL),
        InlineData(SystemGuest.UserCode64, 0xB0FBUL), InlineData(SystemGuest.UserData, 0xC073UL), InlineData(SystemGuest.UserData, 0xC0F1UL), InlineData(SystemGuest.UserData, 0xC093UL), InlineData(SystemGuest.UserData, 0x00F2UL)]
    public void InterruptReturn_ChangedDescriptor_IsReadAnew(ushort selector, ulong attributes) => Interrupts(a =>
    {
        a.mov(rax, SystemGuest.Pack(0, uint.MaxValue, (ushort)attributes));
        a.mov(__qword_ptr[SystemGuest.Gdt + (selector & 0xFFF8u)], rax);
    });

    [Theory]
    [InlineData(0x1000UL, 0x2F), InlineData(0x1000UL, 0x27), InlineData(0x1000UL, 0x20), InlineData(0x1008UL, 0xFFF)]
    public void InterruptReturn_OtherTable_IsReadAnew(ulong start, int limit) => Interrupts(a => a.lgdt(__[0x10100]), guest =>
    {
        guest.Write(0x10100, (ushort)limit);
        guest.Write(0x10102, start);
    });

    [Fact]
    public void InterruptReturn_PageOfTheTableGone_Faults()
    {
        var guest = Interrupts(a => { a.mov(__qword_ptr[SystemGuest.Entry(SystemGuest.Gdt)], 0); a.invlpg(__[SystemGuest.Gdt]); });
        Assert.Equal(VcpuStopKind.Shutdown, guest.Stop);
    }

    [Fact]
    public void InterruptReturn_UserDataSegments_AreDroppedAsTheyMust()
    {
        var guest = Interrupts(a => { a.mov(eax, SystemGuest.Data); a.mov(es, eax); a.mov(gs, eax); a.mov(eax, SystemGuest.UserData); a.mov(ds, eax); });
        Assert.Equal(((ushort)0, SystemGuest.UserData, (ushort)0), (guest.State.Segments[0].Selector, guest.State.Segments[3].Selector, guest.State.Segments[5].Selector));
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void InterruptReturn_WithinLevelZero_GoesOn(bool stackless)
    {
        var guest = Compare((a, mark) =>
        {
            Label again = a.CreateLabel(), back = a.CreateLabel();
            if (stackless) { a.xor(eax, eax); a.mov(ss, eax); }
            a.Label(ref again);
            a.inc(rbx);
            a.mov(rdi, rsp);
            a.mov(eax, ss);
            a.push(rax);
            a.push(rdi);
            a.pushfq();
            a.mov(eax, cs);
            a.push(rax);
            a.lea(rax, __[back]);
            a.push(rax);
            a.xor(rbp, 0x8D5);
            a.mov(__qword_ptr[rsp + 16], rbp);
            a.iretq();
            a.ud2();
            a.Label(ref back);
            a.pushfq();
            a.pop(rcx);
            a.add(rdx, rcx);
            a.cmp(rbx, (int)Rounds);
            a.jne(again);
            a.@int(0x80);
        }, user: false, g => g[5] = 2);
        Assert.Equal((Rounds, 0x80), (guest[3], guest.Trap.Vector));
    }

    [Fact]
    public void InterruptReturn_OfANonMaskableInterrupt_LetsTheNextOneIn()
    {
        // The handler sends another one to its own processor, which may come only behind its IRET.
        var guest = Compare((a, mark) =>
        {
            Label again = a.CreateLabel(), once = a.CreateLabel();
            a.mov(__dword_ptr[rbp + 0xF0], 0x1FF);
            a.Label(ref again);
            a.@int(0x81);
            a.dec(r8);
            a.jne(again);
            // The second time what it goes back to is known.
            a.Label(ref once);
            a.xor(ebx, ebx);
            a.mov(__dword_ptr[rbp + 0x300], 0x400);
            a.db(0xEB, 0);
            a.mov(rsi, rbx);
            a.dec(r12);
            a.jne(once);
            a.@int(0x80);
        }, user: false, g =>
        {
            g.Write(SystemGuest.Tables + 0x1018, 0xC0000083UL);
            (g[5], g[8], g[12]) = (0xFEE00000, Rounds, 3);
            g.Handle(0x81, a => a.iretq());
            g.Handle(2, a =>
            {
                var last = a.CreateLabel();
                a.shl(rbx, 4);
                a.inc(rbx);
                a.cmp(rbx, 0x1111);
                a.ja(last);
                a.mov(__dword_ptr[rbp + 0x300], 0x400);
                a.db(0xEB, 0);
                a.shl(rbx, 4);
                a.Label(ref last);
                a.iretq();
            });
        });
        Assert.Equal((0x10101UL, 0x80), (guest[6], guest.Trap.Vector));
    }

    [Theory]
    [InlineData(0x1234UL, 0x10020UL), InlineData(0x0000_8000_0000_0000UL, 0x10020UL), InlineData(0xFFFF_8000_0000_0000UL, 0x10020UL), InlineData(0xFFFF_7FFF_FFFF_FFFFUL, 0x10020UL),
        InlineData(ulong.MaxValue, 0x10020UL), InlineData(0x7FFF_8000_0000_1234UL, 0x10020UL), InlineData(0x7FFF_FFFF_FFFFUL, 0x10020UL), InlineData(0x1234UL, 0x20UL), InlineData(0xFFFF_0000_1234_5678UL, 0x10020UL)]
    public void SegmentBases_ReadAndWritten_AreCheckedAsAlways(ulong value, ulong features) => Compare((a, mark) => Loop(a, () =>
    {
        a.rdfsbase(r9);
        a.rdgsbase(r10d);
        a.add(rdx, r9);
        a.add(rdx, r10);
        a.wrgsbase(edx);
        a.wrfsbase(rbx);
    }, () =>
    {
        a.mov(rax, features);
        a.mov(cr4, rax);
        a.rdgsbase(rsi);
        a.mov(r11, value);
        a.wrgsbase(r11d);
        a.wrfsbase(r11);
    }), user: false, g => g.State.Cr4 |= 1 << 16);

    [Fact]
    public void FarBits_OfAllOffsets_AreFound() => Compare((a, mark) =>
    {
        a.mov(esi, 0x11000);
        Loop(a, () =>
        {
            a.imul(r9, r9, 0x7A35);
            a.add(r9, 0x3B1F);
            a.mov(r10, r9);
            a.and(r10d, 0x3FFF);
            a.mov(rcx, r9);
            a.sar(rcx, 50);
            a.bts(__qword_ptr[rsi + rbx], r10);
            a.adc(rdx, rdx);
            a.btc(__dword_ptr[rsi], ecx);
            a.adc(rdx, rdx);
            a.@lock.btr(__qword_ptr[rsi + rbx * 8], r10);
            a.adc(rdx, rdx);
            a.bt(__qword_ptr[rsi], rcx);
            a.adc(rdx, rdx);
            a.bt(__word_ptr[rsi], cx);
            a.adc(rdx, rdx);
            a.bt(__dword_ptr[esi], r10d);
            a.adc(rdx, rdx);
        }, () => a.mov(rcx, 1L << 40));
    }, user: false, _ => { });

    [Fact]
    public void WideExchange_EqualOrNot_StoresOrLoads()
    {
        var guest = Compare((a, mark) =>
        {
            a.mov(esi, 0x11000);
            Loop(a, () =>
            {
                a.mov(r8, rbx);
                a.xor(ebx, ebx);
                a.mov(rcx, r8);
                a.test(r8b, 3);
                a.@lock.cmpxchg16b(__xmmword_ptr[rsi]);
                a.setz(r9b);
                a.add(r10, r9);
                a.cmpxchg16b(__xmmword_ptr[rsi + 16]);
                a.lahf();
                a.add(r12, rax);
                a.xor(rax, r12);
                a.mov(rbx, r8);
            }, () => { a.mov(rdi, rsi); a.cmpxchg16b(__xmmword_ptr[rsi + 8]); });
        }, user: false, _ => { });
        Assert.Equal(13, guest.Trap.Vector);
    }

    [Fact]
    public void SelectorsAndControlRegisters_AreRead() => Compare((a, mark) => Loop(a, () =>
    {
        a.mov(r9, ds);
        a.mov(r10d, ss);
        a.mov(__word_ptr[0x11000], cs);
        a.mov(ax, ss);
        a.mov(r9w, cs);
        a.mov(r11w, ds);
        a.add(rdx, rax);
        a.add(rdx, r11);
        a.add(rdx, r9);
        a.add(rdx, r10);
        a.mov(r14, cr0);
        a.mov(rax, cr2);
        a.mov(r15, cr3);
        a.mov(rcx, cr4);
        a.lea(rdx, __[rdx + r14]);
        a.lea(rdx, __[rdx + r15]);
        a.lea(rdx, __[rdx + rcx]);
        a.std();
        a.lea(rdi, __[rbx + 0x11100]);
        a.stosb();
        a.cld();
        a.stosw();
        a.pushfq();
        a.pop(rax);
        a.add(rdx, rax);
    }, () => a.mov(r9, cr8)), user: false, _ => { });

    [Fact]
    public void ControlRegister_ReadInUserMode_IsAProtectionFault()
    {
        var guest = Compare((a, mark) => { mark("read"); a.mov(rax, cr2); }, user: true, _ => { });
        Assert.Equal(new Trap(13, 0, guest["read"]), guest.Trap);
    }

    // A program in user mode that calls again and again; the entry counts, adds up what it sees, and does something else in the tenth round.
    private static Result Calls(ulong star, ulong fmask, ulong flags, Action<Assembler> odd, Action<SystemGuest>? prepare = null) => Compare((a, mark) =>
    {
        Loop(a, () =>
        {
            a.syscall();
            a.pushfq();
            a.pop(rax);
            a.add(rdi, rax);
            a.mov(eax, cs);
            a.add(rdi, rax);
            a.mov(eax, ss);
            a.add(rdi, rax);
            a.mov(r10d, __dword_ptr[0x10001]);
            a.add(rdx, r11);
            a.stc();
        });
        a.@int(0x80);
    }, user: true, guest =>
    {
        guest.State.Msrs = [new(Star, star), new(Lstar, Entry), new(Fmask, fmask)];
        guest.State.Rflags = flags;
        guest.State.Cr0 &= ~(1UL << 18);
        guest.Place(Entry, 64, (a, mark) =>
        {
            var usual = a.CreateLabel();
            a.mov(r9, rsp);
            a.mov(esp, 0x1F000);
            a.pushfq();
            a.pop(rax);
            a.add(rdi, rax);
            a.mov(r12d, cs);
            a.lea(rdi, __[rdi + r12 * 4]);
            a.mov(r12d, ss);
            a.lea(rdi, __[rdi + r12 * 2]);
            a.add(rdx, r11);
            a.mov(rsp, r9);
            a.cmp(rbx, 10);
            a.jne(usual);
            odd(a);
            a.Label(ref usual);
            a.sysretq();
        });
        prepare?.Invoke(guest);
    });

    // The same by an interrupt whose handler goes back by IRET.
    private static Result Interrupts(Action<Assembler> odd, Action<SystemGuest>? prepare = null) => Compare((a, mark) =>
    {
        Loop(a, () => { a.@int(0x81); a.mov(eax, cs); a.add(rdi, rax); a.pushfq(); a.pop(rax); a.add(rdi, rax); });
        a.@int(0x80);
    }, user: true, guest =>
    {
        // As Linux has them.
        foreach (var segment in (int[])[0, 3, 4, 5]) guest.State.Segments[segment] = default;
        guest.Handle(0x81, a =>
        {
            var usual = a.CreateLabel();
            a.cmp(rbx, 10);
            a.jne(usual);
            odd(a);
            a.Label(ref usual);
            a.iretq();
        });
        prepare?.Invoke(guest);
    });

    private static void Loop(Assembler a, Action body, Action? odd = null)
    {
        Label again = a.CreateLabel(), usual = a.CreateLabel();
        a.Label(ref again);
        a.inc(rbx);
        body();
        if (odd is not null)
        {
            a.cmp(rbx, 20);
            a.jne(usual);
            odd();
            a.Label(ref usual);
        }

        a.cmp(rbx, (int)Rounds);
        a.jne(again);
    }

    private static Result Compare(Action<Assembler, Action<string>> body, bool user, Action<SystemGuest> prepare)
    {
        Compare(body, user, prepare, slice: 3);
        return Compare(body, user, prepare, slice: 100_000);
    }

    private static Result Compare(Action<Assembler, Action<string>> body, bool user, Action<SystemGuest> prepare, ulong slice)
    {
        using var interpreted = new SystemGuest<Interpreted>(64, body, user: user, nanosecondsPerInstruction: 1);
        using var translated = new SystemGuest<Translated>(64, body, user: user, nanosecondsPerInstruction: 1);
        prepare(interpreted);
        prepare(translated);
        // Every few instructions both are looked at.
        var stop = EngineComparison.Run(interpreted, translated, slice);
        var inHandler = interpreted.State.Rip - 1 - SystemGuest.Handlers < 0x1000;
        return new Result(stop, interpreted.State, inHandler ? interpreted.Trap : default, n => interpreted[n]);
    }

    private sealed record Result(VcpuStopKind Stop, VcpuState State, Trap Trap, Func<string, ulong> Label)
    {
        public ulong this[int register] => State.Gpr[register];

        public ulong this[string label] => Label(label);
    }
}
