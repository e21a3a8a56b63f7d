using System.Runtime.InteropServices;
using Iced.Intel;
using Vmm.TestSupport.Oracle;
using Xunit;

namespace Vmm.Backends.Software.Tests.Oracle;

/// <summary>The generator makes safe cases for every form, and the host CPU answers each the same way twice.</summary>
public sealed class InstructionGeneratorTests
{
    [Fact]
    public void EveryComparableCode_IsGeneratedAndAnsweredTwiceEqually() => Use(oracle =>
    {
        var generator = new InstructionGenerator(oracle);
        byte[] first = new byte[NativeOracle.DataBytes];
        foreach (CatalogueEntry entry in CodeCatalogue.Comparable)
        {
            for (ulong seed = 0; seed < 10; seed++)
            {
                Assert.True(generator.TryGenerate(entry.Code, seed), entry.Code.ToString());
                OracleCase c = generator.Case;
                c.Data.CopyTo(oracle.Data);
                oracle.Run(c.Bytes, c.State, out OracleState one);
                oracle.Data.CopyTo(first);
                c.Data.CopyTo(oracle.Data);
                oracle.Run(c.Bytes, c.State, out OracleState two);
                IReadOnlyList<string> differences = ResultComparer.Differences(c, one, first, two, oracle.Data);
                Assert.True(differences.Count == 0 && Bytes(one).SequenceEqual(Bytes(two)), CaseReport.Write(c, one, differences));
            }
        }
    });

    [Fact]
    public void Generation_SameSeed_GivesSameCase() => Use(oracle =>
    {
        InstructionGenerator a = new(oracle), b = new(oracle);
        foreach (Code code in (Code[])[Code.Add_rm32_r32, Code.VEX_Vpgatherdd_ymm_vm32y_ymm, Code.Fxrstor64_m512byte, Code.Movsq_m64_m64])
        {
            b.TryGenerate(Code.Nopd, 5);
            Assert.True(a.TryGenerate(code, 77));
            Assert.True(b.TryGenerate(code, 77));
            Assert.Equal(a.Case.Bytes.ToArray(), b.Case.Bytes.ToArray());
            Assert.True(Bytes(a.Case.State).SequenceEqual(Bytes(b.Case.State)));
            Assert.Equal(a.Case.Data, b.Case.Data);
        }
    });

    [Fact]
    public void Catalogue_NamesAReasonForWhateverIsNotComparedExactly()
    {
        Assert.All(CodeCatalogue.All, e => Assert.Equal(e.Comparability == Comparability.Exact, e.Reason.Length == 0));
        Assert.True(CodeCatalogue.Comparable.Length > 1900);
        Assert.False(CodeCatalogue.TryGet(Code.EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er, out _));
    }

    [Fact]
    public void UndefinedFlags_ShiftByZero_LeavesAllDefined()
    {
        var instruction = Instruction.Create(Code.Shl_rm32_CL, Register.EAX, Register.CL);
        OracleState state = OracleState.PowerOn;
        Assert.Equal(0UL, UndefinedFlags.Mask(instruction, state));
        state.Gpr[GprFile.Rcx] = 33;
        Assert.Equal(0x10UL, UndefinedFlags.Mask(instruction, state));
        state.Gpr[GprFile.Rcx] = 2;
        Assert.Equal(0x810UL, UndefinedFlags.Mask(instruction, state));
    }

    [Fact]
    public void Differences_OneRegisterChanged_AreNamed() => Use(oracle =>
    {
        var generator = new InstructionGenerator(oracle);
        Assert.True(generator.TryGenerate(Code.Add_rm64_r64, 1));
        OracleState a = generator.Case.State, b = a;
        b.Gpr[GprFile.Rdx] ^= 1;
        Assert.False(ResultComparer.AreEqual(generator.Case, a, generator.Case.Data, b, generator.Case.Data));
        string line = Assert.Single(ResultComparer.Differences(generator.Case, a, generator.Case.Data, b, generator.Case.Data));
        Assert.StartsWith("RDX", line);
    });

    private static void Use(Action<NativeOracle> body)
    {
        Assert.SkipUnless(NativeOracle.IsSupported, NativeOracle.UnsupportedReason ?? "");
        NativeOracle.Use(body);
    }

    private static ReadOnlySpan<byte> Bytes(in OracleState state) => MemoryMarshal.AsBytes(new ReadOnlySpan<OracleState>(in state));
}
