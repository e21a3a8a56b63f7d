using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Vmm.TestSupport.Oracle;
using Xunit;

namespace Vmm.Backends.Software.Tests.Oracle;

/// <summary>
/// Every instruction form of the CPU model, run from equal random states by the host CPU and by each engine; everything that the
/// architecture defines must come out equal. Environment: VMM_ORACLE_RUNS is the number of cases of each form (default 60),
/// VMM_ORACLE_SEED the first seed, VMM_ORACLE_FILTER a regular expression on Iced's names of forms, VMM_ORACLE_SHOW how many
/// failing cases of a form are written whole (default 1; 0 gives one line for each failing form), VMM_ORACLE_REPORT a file to which
/// one line for each form is appended.
/// </summary>
public sealed class InstructionOracleTests
{
    private const int DefaultRuns = 60;

    /// <summary>The features forms are grouped by, for each engine.</summary>
    public static IEnumerable<TheoryDataRow<string, CpuEngine>> Groups() =>
        from engine in (CpuEngine[])[CpuEngine.Interpret, CpuEngine.Translate]
        from name in CodeCatalogue.Comparable.Select(GroupOf).Distinct().Order(StringComparer.Ordinal)
        select new TheoryDataRow<string, CpuEngine>(name, engine);

    [Theory]
    [MemberData(nameof(Groups))]
    public void Engine_RandomCases_AgreesWithHost(string group, CpuEngine engine)
    {
        Assert.SkipUnless(NativeOracle.IsSupported, NativeOracle.UnsupportedReason ?? "");
        Assert.SkipUnless(engine == CpuEngine.Interpret || Software.Translate.Translator.IsSupported, "The translator needs BMI2 and AVX2.");
        NativeOracle.Use(oracle =>
        {
            var report = new StringBuilder();
            int failing = Compare(oracle, engine, group, report);
            if (failing != 0)
            {
                Assert.Fail($"{failing} forms of {group} differ from the host CPU.\n{report}");
            }
        });
    }

    private static int Compare(NativeOracle oracle, CpuEngine engine, string group, StringBuilder report)
    {
        using var interpreted = new InterpretedCpu(oracle.CodeAddress, oracle.DataAddress, engine == CpuEngine.Translate);
        var generator = new InstructionGenerator(oracle);
        var filter = new Regex(Environment.GetEnvironmentVariable("VMM_ORACLE_FILTER") ?? "");
        int runs = Number("VMM_ORACLE_RUNS", DefaultRuns), first = Number("VMM_ORACLE_SEED", 0), show = Number("VMM_ORACLE_SHOW", 1);
        byte[] native = new byte[NativeOracle.DataBytes], ours = new byte[NativeOracle.DataBytes];
        int failing = 0;
        foreach (CatalogueEntry entry in CodeCatalogue.Comparable)
        {
            if (GroupOf(entry) != group || !filter.IsMatch(entry.Code.ToString()))
            {
                continue;
            }

            int failed = 0, known = 0, unknown = 0;
            var whole = new StringBuilder();
            for (int run = 0; run < runs && (known != 0 || run < 4); run++)
            {
                if (!generator.TryGenerate(entry.Code, (ulong)(first + run)))
                {
                    continue;
                }

                OracleCase subject = generator.Case;
                // One operand kind that the engine forgot is as bad as a whole form.
                if (!interpreted.Knows(subject.Instruction))
                {
                    if (unknown++ == 0)
                    {
                        whole.Append(CultureInfo.InvariantCulture, $"  not known: {subject.Instruction}\n");
                    }

                    continue;
                }

                known++;
                subject.Data.CopyTo(oracle.Data);
                oracle.Run(subject.Bytes, subject.State, out OracleState expected);
                oracle.Data.CopyTo(native);
                interpreted.Run(subject, ours, out OracleState actual);
                if (!ResultComparer.AreEqual(subject, expected, native, actual, ours) && failed++ < show)
                {
                    whole.Append(CaseReport.Write(subject, expected, ResultComparer.Differences(subject, expected, native, actual, ours)));
                }
            }

            if (known == 0)
            {
                failing++;
                report.Append(CultureInfo.InvariantCulture, $"{entry.Code}: the engine does not know it\n");
            }

            failed += unknown;
            Tell(known == 0 ? $"{entry.Code}: not implemented" : $"{entry.Code}: {failed} of {known} cases differ");
            if (failed != 0)
            {
                failing++;
                report.Append(CultureInfo.InvariantCulture, $"{entry.Code}: {failed} of {known + unknown} cases\n").Append(whole);
            }
        }

        return failing;
    }

    private static void Tell(string line)
    {
        if (Environment.GetEnvironmentVariable("VMM_ORACLE_REPORT") is { Length: > 0 } path)
        {
            File.AppendAllText(path, line + "\n");
        }
    }

    private static string GroupOf(CatalogueEntry entry) => string.Join('+', Iced.Intel.InstructionInfoExtensions.CpuidFeatures(entry.Code));

    private static int Number(string name, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out int value) ? value : otherwise;
}
