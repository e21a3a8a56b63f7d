using System.Globalization;
using System.Text;
using Iced.Intel;
using Vmm.TestSupport.Oracle;
using Xunit;

namespace Vmm.Backends.Software.Tests.Oracle;

/// <summary>
/// Random straight sequences, run by the host CPU and by each engine in whole blocks: what one instruction leaves (lazy flags, partial
/// registers, tags) must be what the next expects. VMM_ORACLE_SEQUENCES is how many (default 3000), VMM_ORACLE_SEED the first seed.
/// </summary>
public sealed class SequenceOracleTests
{
    private const int MaximumReports = 6, Length = 12;

    /// <summary>The same sequences by both engines, which must agree in all that the architecture defines, faults included. VMM_LOCKSTEP_SEQUENCES is how many.</summary>
    [Fact]
    public void Translator_RandomSequences_AgreesWithInterpreter()
    {
        Assert.SkipUnless(NativeOracle.IsSupported, NativeOracle.UnsupportedReason ?? "");
        Assert.SkipUnless(Software.Translate.Translator.IsSupported, "The translator needs BMI2 and AVX2.");
        int count = Number("VMM_LOCKSTEP_SEQUENCES", 4000), first = Number("VMM_ORACLE_SEED", 0), failed = 0;
        var report = new StringBuilder();
        NativeOracle.Use(oracle =>
        {
            using var interpreted = new InterpretedCpu(oracle.CodeAddress, oracle.DataAddress);
            using var translated = new InterpretedCpu(oracle.CodeAddress, oracle.DataAddress, translate: true);
            var generator = new InstructionGenerator(oracle);
            for (int i = 0; i < count; i++)
            {
                int length = Length;
                if (CompareEngines(interpreted, translated, generator, (ulong)(first + i), length).Count == 0) continue;
                while (length > 1 && CompareEngines(interpreted, translated, generator, (ulong)(first + i), length - 1).Count != 0) length--;
                if (failed++ < MaximumReports) Write(report, generator, CompareEngines(interpreted, translated, generator, (ulong)(first + i), length));
            }
        });
        Assert.True(failed == 0, $"{failed} of {count} sequences differ between the engines.\n{report}");
    }

    private static IReadOnlyList<string> CompareEngines(InterpretedCpu interpreted, InterpretedCpu translated, InstructionGenerator generator, ulong seed, int length)
    {
        generator.GenerateSequence(length, seed, interpreted.Knows);
        OracleSequence subject = generator.Sequence;
        if (subject.Bytes.IsEmpty) return [];
        byte[] expectedData = new byte[NativeOracle.DataBytes], data = new byte[NativeOracle.DataBytes];
        interpreted.Run(subject, expectedData, out OracleState expected);
        translated.Run(subject, data, out OracleState actual);
        return ResultComparer.Differences(subject, expected, expectedData, actual, data);
    }

    [Theory]
    [InlineData(CpuEngine.Interpret)]
    [InlineData(CpuEngine.Translate)]
    public void Engine_RandomSequences_AgreesWithHost(CpuEngine engine)
    {
        Assert.SkipUnless(NativeOracle.IsSupported, NativeOracle.UnsupportedReason ?? "");
        int count = Number("VMM_ORACLE_SEQUENCES", 3000), first = Number("VMM_ORACLE_SEED", 0), failed = 0;
        var report = new StringBuilder();
        NativeOracle.Use(oracle =>
        {
            using var interpreted = new InterpretedCpu(oracle.CodeAddress, oracle.DataAddress, engine == CpuEngine.Translate);
            var generator = new InstructionGenerator(oracle);
            for (int i = 0; i < count; i++)
            {
                int length = Length;
                if (Compare(oracle, interpreted, generator, (ulong)(first + i), length) is not { Count: > 0 })
                {
                    continue;
                }

                // The same seed gives the same beginning: shorten until the last instruction is the one that makes the difference.
                while (length > 1 && Compare(oracle, interpreted, generator, (ulong)(first + i), length - 1).Count != 0)
                {
                    length--;
                }

                if (failed++ < MaximumReports)
                {
                    Write(report, generator, Compare(oracle, interpreted, generator, (ulong)(first + i), length));
                }
            }
        });
        Assert.True(failed == 0, $"{failed} of {count} sequences differ from the host CPU.\n{report}");
    }

    private static IReadOnlyList<string> Compare(NativeOracle oracle, InterpretedCpu interpreted, InstructionGenerator generator, ulong seed, int length)
    {
        generator.GenerateSequence(length, seed, interpreted.Knows);
        OracleSequence subject = generator.Sequence;
        if (subject.Bytes.IsEmpty)
        {
            return [];
        }

        byte[] native = new byte[NativeOracle.DataBytes], ours = new byte[NativeOracle.DataBytes];
        subject.Data.CopyTo(oracle.Data);
        oracle.Run(subject.Bytes, subject.State, out OracleState expected);
        oracle.Data.CopyTo(native);
        interpreted.Run(subject, ours, out OracleState actual);
        return ResultComparer.Differences(subject, expected, native, actual, ours);
    }

    private static void Write(StringBuilder report, InstructionGenerator generator, IReadOnlyList<string> differences)
    {
        OracleSequence subject = generator.Sequence;
        report.Append(CultureInfo.InvariantCulture, $"seed {subject.Seed}, {subject.Instructions.Count} instructions\n");
        foreach (Instruction instruction in subject.Instructions)
        {
            report.Append(CultureInfo.InvariantCulture, $"  {instruction.IP:X}  {Hex(subject, instruction)}  {instruction} ({instruction.Code})\n");
        }

        CaseReport.WriteX87(report, "in", subject.State.Fpu);
        foreach (string difference in differences)
        {
            report.Append("    ").Append(difference).Append('\n');
        }
    }

    private static string Hex(OracleSequence subject, Instruction instruction) =>
        Convert.ToHexString(subject.Bytes.Slice((int)(instruction.IP - subject.State.Rip), instruction.Length));

    private static int Number(string name, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out int value) ? value : otherwise;
}
