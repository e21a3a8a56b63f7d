using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Iced.Intel;
using Vmm.TestSupport.Oracle;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.Oracle;

/// <summary>The native oracle itself, on instructions whose results are known.</summary>
public sealed class NativeOracleTests
{
    private const ulong Carry = 1, Parity = 4, Adjust = 0x10, Zero = 0x40, Sign = 0x80, Overflow = 0x800, Always = 2;
    private const ulong Status = Carry | Parity | Adjust | Zero | Sign | Overflow;

    [Fact]
    public void Add_SignedOverflow_SetsFlagsAndNextRip() => Run(
        a => a.add(rax, rbx),
        s => { s.Gpr[GprFile.Rax] = long.MaxValue; s.Gpr[GprFile.Rbx] = 1; return s; },
        (oracle, r) =>
        {
            Assert.False(r.Fault.IsFault);
            Assert.Equal(0x8000_0000_0000_0000, r.Gpr[GprFile.Rax]);
            Assert.Equal(Overflow | Sign | Adjust | Parity, r.Rflags & Status);
            Assert.Equal(oracle.CodeAddress + 0x100 + 3, r.Rip);
        });

    [Fact]
    public void AnyInstruction_LeavesOtherRegistersAsGiven() => Run(
        a => a.nop(),
        Distinct,
        (oracle, r) =>
        {
            OracleState given = Distinct(Start(oracle));
            for (int i = 0; i < 16; i++)
            {
                Assert.Equal(given.Gpr[i], r.Gpr[i]);
                Assert.Equal(given.Fpu.Ymm(i), r.Fpu.Ymm(i));
            }

            Assert.Equal(given.Rflags, r.Rflags & ~0x200UL);
            Assert.Equal(given.Fpu.Mxcsr, r.Fpu.Mxcsr);
            Assert.Equal(given.Fpu.Fcw, r.Fpu.Fcw);
        });

    [Fact]
    public void Mul_WideProduct_FillsRdxAndCarry() => Run(
        a => a.mul(rcx),
        s => { s.Gpr[GprFile.Rax] = ulong.MaxValue; s.Gpr[GprFile.Rcx] = ulong.MaxValue; return s; },
        (_, r) =>
        {
            Assert.Equal(1UL, r.Gpr[GprFile.Rax]);
            Assert.Equal(ulong.MaxValue - 1, r.Gpr[GprFile.Rdx]);
            Assert.Equal(Carry | Overflow, r.Rflags & (Carry | Overflow));
        });

    [Fact]
    public void Div_ByZero_FaultsWithRegistersUnchanged() => Run(
        a => a.div(ecx),
        s => { s.Gpr[GprFile.Rax] = 7; s.Gpr[GprFile.Rdx] = 9; return s; },
        (oracle, r) =>
        {
            Assert.Equal(0, r.Fault.Vector);
            Assert.Equal(7UL, r.Gpr[GprFile.Rax]);
            Assert.Equal(9UL, r.Gpr[GprFile.Rdx]);
            Assert.Equal(oracle.CodeAddress + 0x100, r.Rip);
        });

    [Fact]
    public void Ud2_Faults() => Run(a => a.ud2(), s => s, (_, r) => Assert.Equal("#UD", r.Fault.ToString()));

    [Fact]
    public void Int3_ReportsBreakpointAfterTheByte() => Run(a => a.int3(), s => s, (oracle, r) =>
    {
        Assert.Equal(3, r.Fault.Vector);
        Assert.Equal(oracle.CodeAddress + 0x101, r.Rip);
    });

    [Fact]
    public void Int_Unprivileged_IsGeneralProtectionWithSelectorError() => Run(a => a.@int(0x40), s => s, (_, r) =>
    {
        Assert.Equal(13, r.Fault.Vector);
        Assert.Equal(0x40u * 8 + 2, r.Fault.ErrorCode);
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Memory_InGuard_IsPageFaultWithAddressAndAccess(bool write) => Use(oracle =>
    {
        OracleState s = Start(oracle);
        ulong address = oracle.DataAddress + (ulong)NativeOracle.DataBytes;
        s.Gpr[GprFile.Rsi] = address;
        oracle.Run(Assemble(a => { if (write) { a.mov(__[rsi], eax); } else { a.mov(eax, __[rsi]); } }, s.Rip), s, out OracleState r);
        Assert.Equal(14, r.Fault.Vector);
        Assert.Equal(write ? 6u : 4u, r.Fault.ErrorCode);
        Assert.Equal(address, r.Fault.Address);
        Assert.Equal(s.Rip, r.Rip);
    });

    [Fact]
    public void Memory_AcrossIntoGuard_FaultsAtGuardAndWritesNothing() => Use(oracle =>
    {
        OracleState s = Start(oracle);
        oracle.Data.Fill(0x5A);
        s.Gpr[GprFile.Rsi] = oracle.DataAddress + (ulong)NativeOracle.DataBytes - 4;
        oracle.Run(Assemble(a => a.mov(__[rsi], rax), s.Rip), s, out OracleState r);
        Assert.Equal(14, r.Fault.Vector);
        Assert.Equal(oracle.DataAddress + (ulong)NativeOracle.DataBytes, r.Fault.Address);
        Assert.Equal(-1, oracle.Data.IndexOfAnyExcept((byte)0x5A));
    });

    [Fact]
    public void Memory_NonCanonical_IsGeneralProtectionOrStackFault() => Use(oracle =>
    {
        OracleState s = Start(oracle);
        s.Gpr[GprFile.Rsi] = 0x8000_0000_0000_0000;
        s.Gpr[GprFile.Rbp] = 0x8000_0000_0000_0000;
        oracle.Run(Assemble(a => a.mov(eax, __[rsi]), s.Rip), s, out OracleState r);
        Assert.Equal(13, r.Fault.Vector);
        oracle.Run(Assemble(a => a.mov(eax, __[rbp]), s.Rip), s, out r);
        Assert.Equal(12, r.Fault.Vector);
    });

    [Fact]
    public void Movaps_Misaligned_IsGeneralProtection() => Use(oracle =>
    {
        OracleState s = Start(oracle);
        s.Gpr[GprFile.Rsi] = oracle.DataAddress + 8;
        oracle.Run(Assemble(a => a.movaps(xmm0, __[rsi]), s.Rip), s, out OracleState r);
        Assert.Equal("#GP(0x0)", r.Fault.ToString());
    });

    [Fact]
    public void Memory_MisalignedWithAlignmentCheck_IsAlignmentFault() => Use(oracle =>
    {
        OracleState s = Start(oracle);
        s.Rflags |= 1 << 18;
        s.Gpr[GprFile.Rsi] = oracle.DataAddress + 1;
        oracle.Run(Assemble(a => a.mov(eax, __[rsi]), s.Rip), s, out OracleState r);
        Assert.Equal(17, r.Fault.Vector);
        Assert.NotEqual(0UL, r.Rflags & (1 << 18));
    });

    [Fact]
    public void TrapFlag_SingleStepsOneInstruction() => Run(a => { a.inc(rax); a.inc(rax); }, s => { s.Rflags |= 0x100; return s; }, (oracle, r) =>
    {
        Assert.Equal(1, r.Fault.Vector);
        Assert.Equal(1UL, r.Gpr[GprFile.Rax]);
        Assert.Equal(oracle.CodeAddress + 0x103, r.Rip);
    });

    [Fact]
    public void Divps_UnmaskedZeroDivide_IsSimdException() => Run(
        a => a.divps(xmm1, xmm2),
        s =>
        {
            s.Fpu.Mxcsr = 0x1F80 & ~0x200u;
            s.Fpu.SetYmm(1, Vector256.Create(1f).AsByte());
            return s;
        },
        (_, r) =>
        {
            Assert.Equal("#XM", r.Fault.ToString());
            Assert.Equal(4u, r.Fpu.Mxcsr & 0x3F);
            Assert.Equal(Vector256.Create(1f).AsByte(), r.Fpu.Ymm(1));
        });

    [Fact]
    public void Vaddps_Ymm_ComputesUpperHalves() => Run(
        a => a.vaddps(ymm3, ymm1, ymm2),
        s =>
        {
            s.Fpu.SetYmm(1, Vector256.Create(1f, 2, 3, 4, 5, 6, 7, 8).AsByte());
            s.Fpu.SetYmm(2, Vector256.Create(10f).AsByte());
            return s;
        },
        (_, r) => Assert.Equal(Vector256.Create(11f, 12, 13, 14, 15, 16, 17, 18).AsByte(), r.Fpu.Ymm(3)));

    [Fact]
    public void X87_LoadPiAndAdd_GivesExtendedResult() => Run(
        a => { a.fldpi(); a.fld1(); a.faddp(st1, st0); },
        s => s,
        (_, r) =>
        {
            Assert.Equal(0x4001, r.Fpu.StSignExponent(0));
            Assert.Equal(0x8487_ED51_10B4_611AUL, r.Fpu.StMantissa(0) & ~1UL);
            Assert.Equal(7, (r.Fpu.Fsw >> 11) & 7);
            Assert.Equal(0x80, r.Fpu.Ftw);
        });

    [Fact]
    public void X87_PendingUnmaskedException_IsMathFault() => Run(
        a => { a.fldz(); a.fld1(); a.fdivrp(st1, st0); a.wait(); },
        s => { s.Fpu.Fcw = 0x037B; return s; },
        (_, r) => Assert.Equal("#MF", r.Fault.ToString()));

    [Theory]
    [InlineData(0UL)]
    [InlineData(0xDEAD_BEEF_DEAD_BEEF)]
    [InlineData(0xFFFF_FFFF_FFFF_FFFF)]
    public void Rsp_Garbage_IsFreeToUse(ulong stack) => Use(oracle =>
    {
        OracleState s = Start(oracle);
        s.Gpr[GprFile.Rsp] = stack;
        oracle.Run(Assemble(a => a.add(rsp, 3), s.Rip), s, out OracleState r);
        Assert.False(r.Fault.IsFault);
        Assert.Equal(stack + 3, r.Gpr[GprFile.Rsp]);
        oracle.Run(Assemble(a => a.ud2(), s.Rip), s, out r);
        Assert.Equal(6, r.Fault.Vector);
        Assert.Equal(stack, r.Gpr[GprFile.Rsp]);
    });

    [Fact]
    public void Branch_IntoCodeAreaOrNowhere_EndsAtItsTarget() => Use(oracle =>
    {
        OracleState s = Start(oracle);
        ulong inside = oracle.CodeAddress + 0x800, outside = oracle.CodeAddress + 0x10_0000;
        foreach (ulong target in (ulong[])[inside, outside])
        {
            oracle.Run(Assemble(a => a.jmp(target), s.Rip), s, out OracleState r);
            Assert.False(r.Fault.IsFault);
            Assert.Equal(target, r.Rip);
        }
    });

    [Fact]
    public void Code_AcrossIntoGuard_IsFetchFault() => Use(oracle =>
    {
        OracleState s = Start(oracle);
        ulong end = oracle.CodeAddress + (ulong)NativeOracle.CodeBytes;
        s.Rip = end - 2;
        oracle.Run([0x48, 0x01], s, out OracleState r);
        Assert.Equal($"#PF(error 0x14, address 0x{end:X})", r.Fault.ToString());
        Assert.Equal(end - 2, r.Rip);
        s.Rip = end - 1;
        oracle.Run([0x90], s, out r);
        Assert.False(r.Fault.IsFault);
        Assert.Equal(end, r.Rip);
    });

    [Fact]
    public void RepMovsb_IntoGuard_KeepsProgress() => Use(oracle =>
    {
        OracleState s = Start(oracle);
        s.Gpr[GprFile.Rcx] = 10;
        s.Gpr[GprFile.Rsi] = oracle.DataAddress;
        s.Gpr[GprFile.Rdi] = oracle.DataAddress + (ulong)NativeOracle.DataBytes - 4;
        oracle.Run(Assemble(a => a.rep.movsb(), s.Rip), s, out OracleState r);
        Assert.Equal(14, r.Fault.Vector);
        Assert.Equal(6UL, r.Gpr[GprFile.Rcx]);
    });

    [Fact]
    public void Runtime_AfterInstallation_StillThrowsItsOwnExceptions() => Use(oracle =>
    {
        void Provoke()
        {
            Assert.Throws<NullReferenceException>(() => Length(null!));
            Assert.Throws<DivideByZeroException>(() => Divide(1, 0));
            Assert.Throws<OverflowException>(() => Divide(int.MinValue, -1));
        }

        OracleState s = Start(oracle);
        for (int i = 0; i < 50; i++)
        {
            oracle.Run(Assemble(a => a.ud2(), s.Rip), s, out _);
            Provoke();
            Exception? elsewhere = null;
            var other = new Thread(() => elsewhere = Record.Exception(Provoke));
            other.Start();
            other.Join();
            Assert.Null(elsewhere);
        }
    });

    [Fact]
    public void Run_OutsideItsThread_IsRefused()
    {
        NativeOracle? kept = null;
        Use(oracle => kept = oracle);
        Assert.Throws<InvalidOperationException>(() => kept!.Run([0x90], default, out _));
    }

    [Fact]
    public void Run_MillionTimesWithCollections_NeitherLeaksNorBreaks() => Use(oracle =>
    {
        OracleState s = Start(oracle);
        byte[] add = Assemble(a => a.add(rax, rcx), s.Rip), fault = Assemble(a => a.ud2(), s.Rip);
        s.Gpr[GprFile.Rcx] = 1;
        const int collections = 400;
        using var collect = new SemaphoreSlim(0);
        var collector = new Thread(() =>
        {
            for (int i = 0; i < collections; i++)
            {
                collect.Wait();
                GC.Collect(0);
            }
        });
        collector.Start();
        oracle.Run(add, s, out OracleState r);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 1; i < 1_000_000; i++)
        {
            if (i % (1_000_000 / collections) == 1)
            {
                collect.Release();
            }

            if (i % 16 == 0)
            {
                oracle.Run(fault, r, out OracleState f);
                if (f.Fault.Vector != 6 || f.Gpr[GprFile.Rax] != r.Gpr[GprFile.Rax])
                {
                    Assert.Fail("The fault was not reported as it should be.");
                }
            }

            r.Rip = s.Rip;
            oracle.Run(add, r, out r);
        }

        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        collector.Join();
        Assert.Equal(1_000_000UL, r.Gpr[GprFile.Rax]);
        Assert.InRange(allocated, 0, 10_000);
    });

    private static OracleState Distinct(OracleState s)
    {
        for (int i = 0; i < 16; i++)
        {
            s.Gpr[i] = 0x1111_2222_3333_0000UL * (ulong)(i + 1);
            s.Fpu.SetYmm(i, Vector256.Create((ulong)i, ~(ulong)i, 0x1234_5678UL << i, ulong.MaxValue / (ulong)(i + 3)).AsByte());
        }

        s.Rflags = Always | Status | 0x400;
        s.Fpu.Mxcsr = 0x7FBF;
        s.Fpu.Fcw = 0x0F7F;
        return s;
    }

    private static void Run(Action<Assembler> code, Func<OracleState, OracleState> prepare, Action<NativeOracle, OracleState> check)
    {
        Use(oracle =>
        {
            OracleState s = prepare(Start(oracle));
            oracle.Run(Assemble(code, s.Rip), s, out OracleState r);
            check(oracle, r);
        });
    }

    private static OracleState Start(NativeOracle oracle) => OracleState.PowerOn with { Rip = oracle.CodeAddress + 0x100 };

    private static byte[] Assemble(Action<Assembler> code, ulong rip)
    {
        var a = new Assembler(64);
        code(a);
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), rip);
        return stream.ToArray();
    }

    private static void Use(Action<NativeOracle> body)
    {
        Require();
        NativeOracle.Use(body);
    }

    private static void Require() => Assert.SkipUnless(NativeOracle.IsSupported, NativeOracle.UnsupportedReason ?? "");

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Length(string text) => text.Length;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Divide(int a, int b) => a / b;
}
