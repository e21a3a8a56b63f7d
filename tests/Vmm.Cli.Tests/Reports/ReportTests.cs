using System.Text.Json;
using Vmm.Cli.Tests.Support;

namespace Vmm.Cli.Tests.Reports;

public class ReportTests
{
    [Fact]
    public async Task Report_OfPowerOff_HasMachineTimelineAndCounts()
    {
        using var cli = new CliRun();
        var report = await ReportAsync(cli, 0, Rom.PowersOff("Linux version 0"), "--memory", "16M", "--cpu-model", "x86-64-v2", "--cpu-engine", "interpret");
        Assert.Equal(1, report.GetProperty("format").GetInt32());
        var machine = report.GetProperty("machine");
        Assert.Equal("software", machine.GetProperty("backend").GetString());
        Assert.Equal("pc", machine.GetProperty("board").GetString());
        Assert.Equal(16 << 20, machine.GetProperty("memoryBytes").GetInt64());
        Assert.Equal(1, machine.GetProperty("vcpus").GetInt32());
        Assert.Equal("x86-64-v2", machine.GetProperty("cpuModel").GetString());
        Assert.Equal("powered-off", report.GetProperty("exit").GetProperty("kind").GetString());
        Assert.Equal(0, report.GetProperty("exit").GetProperty("processExitCode").GetInt32());

        var marks = report.GetProperty("timeline").EnumerateArray().Select(m => (Name: m.GetProperty("name").GetString(), At: m.GetProperty("milliseconds").GetDouble())).ToList();
        Assert.Equal(marks.OrderBy(m => m.At), marks);
        foreach (var name in (string[])["loaded", "started", "first-instruction", "first-console-byte", "linux-version", "ended"]) Assert.Contains(marks, m => m.Name == name);

        Assert.InRange(report.GetProperty("instructionsRetired").GetInt64(), 30, 1000);
        Assert.Equal("Linux version 0".Length, report.GetProperty("consoleBytes").GetInt64());
        Assert.Equal("Linux version 0".Length + 1, report.GetProperty("exits").GetProperty("port-write").GetInt64());
        // Some dozens of instructions in a loaded host's second round to nothing: only a rate over time is promised.
        Assert.Equal(JsonValueKind.Number, report.GetProperty("mips").ValueKind);
    }

    [Fact]
    public async Task Report_OfDebugExit_HasTheValue()
    {
        using var cli = new CliRun();
        var exit = (await ReportAsync(cli, 85, Rom.Exits(42), "--debug-exit", "0xf4")).GetProperty("exit");
        Assert.Equal("debug-exit", exit.GetProperty("kind").GetString());
        Assert.Equal(42, exit.GetProperty("code").GetInt32());
        Assert.Equal(85, exit.GetProperty("processExitCode").GetInt32());
    }

    [Fact]
    public async Task Report_OfTimeout_SaysSo()
    {
        using var cli = new CliRun();
        var exit = (await ReportAsync(cli, ExitCode.TimedOut, Rom.Hangs(), "--timeout", "0.2")).GetProperty("exit");
        Assert.Equal("timed-out", exit.GetProperty("kind").GetString());
        Assert.Equal(JsonValueKind.Null, exit.GetProperty("code").ValueKind);
    }

    [Fact]
    public async Task Report_FileThatCannotBe_IsToldBeforeTheGuestRuns()
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.BadArguments, await cli.RunRomAsync(Rom.PowersOff("ran"), "--report", cli.PathOf("no/such/directory")));
        Assert.Contains("--report", cli.Error);
        Assert.Empty(cli.Output);
    }

    [Fact]
    public async Task Report_GuestCannotStart_LeavesFilesAsTheyWere()
    {
        using var cli = new CliRun();
        var old = cli.File("old.json", "old"u8.ToArray());
        var bad = cli.File("bad.rom", [1, 2, 3]);
        Assert.Equal(ExitCode.BadImage, await cli.RunAsync("run", "--firmware", bad, "--report", old));
        Assert.Equal(ExitCode.BadImage, await cli.RunAsync("run", "--firmware", bad, "--report", cli.PathOf("new.json")));
        Assert.Equal("old", await File.ReadAllTextAsync(old));
        Assert.False(File.Exists(cli.PathOf("new.json")));
    }

    [Fact]
    public async Task Report_OverAnOlderLongerOne_IsWholeJson()
    {
        using var cli = new CliRun();
        cli.File("report.json", new byte[100_000]);
        await ReportAsync(cli, 0, Rom.PowersOff());
    }

    private static async Task<JsonElement> ReportAsync(CliRun cli, int code, byte[] rom, params string[] arguments)
    {
        var path = cli.PathOf("report.json");
        Assert.Equal(code, await cli.RunRomAsync(rom, [.. arguments, "--report", path]));
        using var document = JsonDocument.Parse(await File.ReadAllTextAsync(path));
        return document.RootElement.Clone();
    }
}
