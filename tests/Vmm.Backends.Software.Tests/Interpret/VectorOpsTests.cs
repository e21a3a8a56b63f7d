using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Xunit;
using static Iced.Intel.AssemblerRegisters;
using Vector = Vmm.Backends.Software.Cpu.Vector;

namespace Vmm.Backends.Software.Tests.Interpret;

/// <summary>What random comparison with the host CPU in user mode cannot reach, and known answers for hosts without that oracle.</summary>
public sealed class VectorOpsTests : IDisposable
{
    private const uint Data = OneInstruction.Data, Limit = OneInstruction.DataLimit;
    private const ulong Em = 4, Ts = 8, OsFxsr = 0x200, OsXmmExcpt = 0x400, OsXsave = 0x4_0000;

    private readonly OneInstruction _run = new();

    public void Dispose() => _run.Dispose();

    [Theory]
    [InlineData(0, 0, -1)]
    [InlineData(Em, 0, Vector.UD)]
    [InlineData(0, OsFxsr, Vector.UD)]
    [InlineData(Ts, 0, Vector.NM)]
    [InlineData(Em | Ts, 0, Vector.UD)]
    [InlineData(Ts, OsFxsr, Vector.UD)]
    public void Sse_ByControlRegisters_FaultsAsTheManualSays(ulong cr0Set, ulong cr4Clear, int expected)
    {
        _run.Change(s => (s.Cr0, s.Cr4) = (s.Cr0 | cr0Set, s.Cr4 & ~cr4Clear));
        Assert.Equal(expected, _run.Run(a => a.paddd(xmm0, xmm1)));
    }

    [Theory]
    [InlineData(0, 0, 7, -1)]
    [InlineData(Em, OsFxsr, 7, -1)]
    [InlineData(0, OsXsave, 7, Vector.UD)]
    [InlineData(0, 0, 3, Vector.UD)]
    [InlineData(Ts, 0, 7, Vector.NM)]
    [InlineData(Ts, 0, 1, Vector.UD)]
    public void Avx_ByControlRegisters_FaultsAsTheManualSays(ulong cr0Set, ulong cr4Clear, ulong xcr0, int expected)
    {
        _run.Change(s => (s.Cr0, s.Cr4, s.Xcr0) = (s.Cr0 | cr0Set, s.Cr4 & ~cr4Clear, xcr0));
        Assert.Equal(expected, _run.Run(a => a.vpaddd(xmm0, xmm1, xmm2)));
    }

    [Fact]
    public void LegacySse_KeepsUpperHalf_VexClearsIt()
    {
        _run.Cpu.Ymm<int>(0) = Vector256.Create(1, 2, 3, 4, 5, 6, 7, 8);
        _run.Cpu.Ymm<int>(1) = Vector256.Create(10);
        Assert.Equal(-1, _run.Run(a => a.paddd(xmm0, xmm1)));
        Assert.Equal(Vector256.Create(11, 12, 13, 14, 5, 6, 7, 8), _run.Cpu.Ymm<int>(0));
        Assert.Equal(-1, _run.Run(a => a.vpaddd(xmm0, xmm0, xmm1)));
        Assert.Equal(Vector256.Create(21, 22, 23, 24, 0, 0, 0, 0), _run.Cpu.Ymm<int>(0));
    }

    [Fact]
    public void LegacyOperand_Misaligned_IsGeneralProtection_VexIsNot()
    {
        Assert.Equal(Vector.GP, _run.Run(a => a.paddd(xmm0, __[Data + 4])));
        Assert.Equal(Vector.GP, _run.Run(a => a.movaps(__[Data + 8], xmm0)));
        Assert.Equal(Vector.GP, _run.Run(a => a.vmovaps(ymm0, __[Data + 16])));
        Assert.Equal(-1, _run.Run(a => a.vpaddd(xmm0, xmm1, __[Data + 4])));
        Assert.Equal(-1, _run.Run(a => a.movups(__[Data + 8], xmm0)));
    }

    [Theory]
    [InlineData(true, Vector.XM)]
    [InlineData(false, Vector.UD)]
    public void Arithmetic_UnmaskedException_SetsFlagAndKeepsDestination(bool osXmmExcpt, int expected)
    {
        _run.Change(s => s.Cr4 = osXmmExcpt ? s.Cr4 : s.Cr4 & ~OsXmmExcpt);
        _run.Cpu.S.Mxcsr = 0x1D80;
        var before = Vector256.Create(1f, 2, 3, 4, 5, 6, 7, 8);
        _run.Cpu.Ymm<float>(0) = before;
        _run.Cpu.Ymm<float>(1) = Vector256.Create(1f, 0, 3, 3, 1, 1, 1, 1);
        Assert.Equal(expected, _run.Run(a => a.divps(xmm0, xmm1)));
        Assert.Equal(before, _run.Cpu.Ymm<float>(0));
        Assert.Equal(0x1D84u, _run.Cpu.S.Mxcsr);
    }

    [Fact]
    public void Arithmetic_FastAndExactWay_Agree()
    {
        var random = new Random(1);
        for (var i = 0; i < 2000; i++)
        {
            var (a, b) = (Vector256.Create<double>(Number(random)), Vector256.Create<double>(Number(random)));
            // With PE set the host computes; without it, the exact arithmetic.
            Assert.Equal(Product(a, b, 0x1FA0), Product(a, b, 0x1F80));
        }
    }

    [Fact]
    public void MaskedLoad_UnchosenElementsBeyondLimit_AreNotRead()
    {
        MemoryMarshal.Write(_run.Memory[0xFF8..], 0x2222_2222_1111_1111UL);
        _run.Cpu.Ymm<int>(1) = Vector256.Create(-1, -1, 0, 0, 0, 0, 0, 0);
        Assert.Equal(-1, _run.Run(a => a.vpmaskmovd(ymm0, ymm1, __[Limit - 7])));
        Assert.Equal(Vector256.Create(0x1111_1111, 0x2222_2222, 0, 0, 0, 0, 0, 0), _run.Cpu.Ymm<int>(0));
        _run.Cpu.Ymm<int>(1) = Vector256.Create(-1, -1, -1, 0, 0, 0, 0, 0);
        Assert.Equal(Vector.GP, _run.Run(a => a.vpmaskmovd(ymm0, ymm1, __[Limit - 7])));
    }

    [Fact]
    public void MaskedStore_ChosenElementBeyondLimit_WritesNothing()
    {
        _run.Cpu.Ymm<int>(0) = Vector256.Create(5);
        _run.Cpu.Ymm<int>(1) = Vector256.Create(-1, -1, -1, 0, 0, 0, 0, 0);
        Assert.Equal(Vector.GP, _run.Run(a => a.vpmaskmovd(__[Limit - 7], ymm1, ymm0)));
        Assert.Equal(0UL, MemoryMarshal.Read<ulong>(_run.Memory[0xFF8..]));
        _run.Cpu.Ymm<int>(1) = Vector256.Create(0, -1, 0, 0, 0, 0, 0, 0);
        Assert.Equal(-1, _run.Run(a => a.vpmaskmovd(__[Limit - 7], ymm1, ymm0)));
        Assert.Equal(5UL << 32, MemoryMarshal.Read<ulong>(_run.Memory[0xFF8..]));
    }

    [Fact]
    public void Gather_FaultInTheMiddle_KeepsWhatIsDone()
    {
        MemoryMarshal.Write(_run.Memory[8..], 77);
        _run.Cpu.Ymm<int>(0) = Vector256.Create(1, 2, 3, 4, 9, 9, 9, 9);
        _run.Cpu.Ymm<int>(1) = Vector256.Create(-1, -1, -1, -1, 9, 9, 9, 9);
        _run.Cpu.Ymm<int>(2) = Vector256.Create(8, 8, (int)Limit, 8, 0, 0, 0, 0);
        _run.Cpu.Gpr(3) = Data;
        Assert.Equal(Vector.GP, _run.Run(a => a.vpgatherdd(xmm0, __[ebx + xmm2 * 1], xmm1)));
        Assert.Equal(Vector128.Create(77, 77, 3, 4), _run.Cpu.Xmm<int>(0));
        Assert.Equal(Vector128.Create(0, 0, -1, -1), _run.Cpu.Xmm<int>(1));
        _run.Cpu.Ymm<int>(2) = Vector256.Create(0, 0, 8, 0, 0, 0, 0, 0);
        Assert.Equal(-1, _run.Run(a => a.vpgatherdd(xmm0, __[ebx + xmm2 * 1], xmm1)));
        Assert.Equal(Vector256.Create(77, 77, 77, 0, 0, 0, 0, 0), _run.Cpu.Ymm<int>(0));
        Assert.Equal(Vector256<int>.Zero, _run.Cpu.Ymm<int>(1));
    }

    [Fact]
    public void ZeroUpper_OutsideSixtyFourBitMode_LeavesTheUpperRegisters()
    {
        for (byte i = 0; i < 16; i++) _run.Cpu.Ymm<int>(i) = Vector256.Create(-1);
        Assert.Equal(-1, _run.Run(a => a.vzeroupper()));
        Assert.Equal(Vector128<int>.Zero, _run.Cpu.XmmHigh<int>(7));
        Assert.Equal(Vector256.Create(-1), _run.Cpu.Ymm<int>(8));
    }

    [Fact]
    public void Aes_ExampleOfFips197_IsEncryptedAndDecrypted()
    {
        // FIPS 197, appendix B: the first round of the cipher.
        Set(0, "193de3bea0f4e22b9ac68d2ae9f84808");
        Set(1, "a0fafe1788542cb123a339392a6c7605");
        Assert.Equal(-1, _run.Run(a => a.aesenc(xmm0, xmm1)));
        Assert.Equal("A49C7FF2689F352B6B5BEA43026A5049", Hex(0));
        Set(1, "00000000000000000000000000000000");
        Set(0, "A49C7FF2689F352B6B5BEA43026A5049");
        Assert.Equal(-1, _run.Run(a => a.aesenclast(xmm0, xmm1)));
        Assert.Equal(-1, _run.Run(a => a.aesdeclast(xmm0, xmm1)));
        Assert.Equal("A49C7FF2689F352B6B5BEA43026A5049", Hex(0));
    }

    [Fact]
    public void Sha256_TwoRoundsOfTheEmptyMessage_GiveTheKnownState()
    {
        // FIPS 180-4: initial hash value, first two words of the padded empty message and the constants K0, K1.
        _run.Cpu.Xmm<uint>(1) = Vector128.Create(0x9B05688Cu, 0x510E527F, 0xBB67AE85, 0x6A09E667);
        _run.Cpu.Xmm<uint>(2) = Vector128.Create(0x5BE0CD19u, 0x1F83D9AB, 0xA54FF53A, 0x3C6EF372);
        _run.Cpu.Xmm<uint>(0) = Vector128.Create(0x428A2F98u + 0x8000_0000, 0x71374491, 0, 0);
        Assert.Equal(-1, _run.Run(a => a.sha256rnds2(xmm2, xmm1)));
        var state = Rounds([0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19], [0x428A2F98u + 0x8000_0000, 0x71374491]);
        Assert.Equal(Vector128.Create(state[5], state[4], state[1], state[0]), _run.Cpu.Xmm<uint>(2));
    }

    [Fact]
    public void CarryLessMultiply_OfAllOnes_HasAlternatingBits()
    {
        _run.Cpu.Xmm<ulong>(0) = Vector128.Create(ulong.MaxValue, 0);
        Assert.Equal(-1, _run.Run(a => a.pclmulqdq(xmm0, xmm0, 0)));
        Assert.Equal(Vector128.Create(0x5555_5555_5555_5555UL, 0x5555_5555_5555_5555), _run.Cpu.Xmm<ulong>(0));
    }

    [Fact]
    public void StringIndex_OfSubstring_IsFound()
    {
        "needle\0"u8.CopyTo(_run.Memory);
        _run.Cpu.Xmm<byte>(0) = MemoryMarshal.Read<Vector128<byte>>("dle\0............"u8);
        Assert.Equal(-1, _run.Run(a => a.pcmpistri(xmm0, __[Data], 0x0C)));
        Assert.Equal(3UL, _run.Cpu.Gpr(1));
    }

    private static double Number(Random random) => (random.NextDouble() - 0.5) * Math.Pow(2, random.Next(-40, 40));

    private Vector256<double> Product(Vector256<double> a, Vector256<double> b, uint mxcsr)
    {
        _run.Cpu.S.Mxcsr = mxcsr;
        (_run.Cpu.Ymm<double>(0), _run.Cpu.Ymm<double>(1), _run.Cpu.Ymm<double>(2)) = (a, b, b * 3.0);
        Assert.Equal(-1, _run.Run(x => x.vmulpd(ymm0, ymm0, ymm1)));
        _run.Cpu.S.Mxcsr = mxcsr;
        Assert.Equal(-1, _run.Run(x => x.vfmadd231pd(ymm0, ymm1, ymm2)));
        _run.Cpu.S.Mxcsr = mxcsr;
        Assert.Equal(-1, _run.Run(x => x.vdivpd(ymm0, ymm0, ymm2)));
        return _run.Cpu.Ymm<double>(0);
    }

    private static uint[] Rounds(uint[] h, uint[] words)
    {
        foreach (var w in words)
        {
            var s1 = uint.RotateRight(h[4], 6) ^ uint.RotateRight(h[4], 11) ^ uint.RotateRight(h[4], 25);
            var t1 = h[7] + s1 + ((h[4] & h[5]) ^ (~h[4] & h[6])) + w;
            var s0 = uint.RotateRight(h[0], 2) ^ uint.RotateRight(h[0], 13) ^ uint.RotateRight(h[0], 22);
            h = [t1 + s0 + ((h[0] & h[1]) ^ (h[0] & h[2]) ^ (h[1] & h[2])), h[0], h[1], h[2], h[3] + t1, h[4], h[5], h[6]];
        }

        return h;
    }

    private void Set(byte register, string hex) => _run.Cpu.Xmm<byte>(register) = Vector128.Create(Convert.FromHexString(hex));

    private string Hex(byte register)
    {
        var bytes = new byte[16];
        _run.Cpu.Xmm<byte>(register).CopyTo(bytes);
        return Convert.ToHexString(bytes);
    }
}
