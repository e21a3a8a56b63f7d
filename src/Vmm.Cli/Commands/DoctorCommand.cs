using System.CommandLine;
using System.Globalization;
using Spectre.Console;
using Vmm.Cli.Terminal;
using Vmm.Core.Backends;
using Vmm.Core.Errors;
using Vmm.Guests;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm doctor</c>: what this host can run, what it cannot, and what would mend that. Changes nothing.</summary>
internal static class DoctorCommand
{
    public static Command Create(HostStreams streams)
    {
        var command = new Command("doctor", "Tells of each backend whether it is usable, why not, and the command that mends it; and where guests come from.");
        command.SetAction((_, cancellationToken) => RunAsync(streams, VmmHost.Probe(), new GuestImages(new GuestImageOptions { AllowDownload = false }), cancellationToken));
        return command;
    }

    /// <summary>Writes the report; the exit code says whether some backend runs whole operating systems.</summary>
    internal static async Task<int> RunAsync(HostStreams streams, IEnumerable<HypervisorProbe> probes, GuestImages images, CancellationToken cancellationToken)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(streams.Text), Ansi = streams.IsOutputTerminal ? AnsiSupport.Detect : AnsiSupport.No });

        // In a pipe a line is a line.
        if (!streams.IsOutputTerminal) console.Profile.Width = short.MaxValue;
        var table = Table();
        string? chosen = null;
        foreach (var probe in probes)
        {
            var runsAll = probe.IsUsable && probe.Capabilities.HasFlag(HypervisorCapabilities.FullSystem);
            if (runsAll) chosen ??= probe.Backend;
            Row(table, probe.Backend, probe.IsUsable, probe.IsUsable ? "usable" : "not usable", probe.Detail);
            if (probe.IsUsable) Row(table, "", null, "", $"can do: {Abilities(probe.Capabilities)}");
            if (probe.Fix is not null) Row(table, "", null, "", $"to mend it: {probe.Fix}");
        }

        console.MarkupLine("[bold]Backends[/]");
        console.Write(table);
        console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"  --backend auto is {chosen ?? "none of them"}");
        console.WriteLine();
        table = Table();
        await ImageAsync(table, "kernel", async () => (await images.FindKernelAsync(cancellationToken: cancellationToken).ConfigureAwait(false)).ToString()).ConfigureAwait(false);
        await ImageAsync(table, "busybox", async () => (await images.FindBusyboxAsync(cancellationToken: cancellationToken).ConfigureAwait(false)).ToString()).ConfigureAwait(false);
        console.MarkupLine("[bold]Guests[/] (vmm run --linux)");
        console.Write(table);
        return chosen is null ? ExitCode.NoBackend : ExitCode.PoweredOff;
    }

    private static async Task ImageAsync(Table table, string name, Func<Task<string>> find)
    {
        try
        {
            Row(table, name, true, "found", await find().ConfigureAwait(false));
        }
        catch (GuestImageException e)
        {
            Row(table, name, false, "not found", HasApt() ? "the first 'vmm run --linux' fetches it by 'apt-get download' into the cache" : e.Remedy);
        }
        catch (VmmException e)
        {
            Row(table, name, false, "not found", e.Message);
        }
    }

    private static Table Table() => new Table().NoBorder().HideHeaders().AddColumn(new TableColumn("") { NoWrap = true }).AddColumn(new TableColumn("") { NoWrap = true }).AddColumn("");

    private static void Row(Table table, string name, bool? isGood, string verdict, string detail) =>
        table.AddRow(Text($"  {name}", "bold"), Text(verdict, isGood switch { true => "green", false => "red", null => "default" }), Text(detail.ReplaceLineEndings(" "), "default"));

    private static Text Text(string text, string style) => new(text, Style.Parse(style));

    private static string Abilities(HypervisorCapabilities capabilities)
    {
        var names = Enum.GetValues<HypervisorCapabilities>().Where(c => c != HypervisorCapabilities.None && capabilities.HasFlag(c)).Select(Name).ToArray();
        return names.Length == 0 ? "only what every backend does" : string.Join(", ", names);
    }

    private static string Name(HypervisorCapabilities capability) => capability switch
    {
        HypervisorCapabilities.DirtyLog => "dirty log",
        HypervisorCapabilities.SingleStep => "single step",
        HypervisorCapabilities.HardwareBreakpoints => "hardware breakpoints",
        HypervisorCapabilities.InstructionCount => "instruction count",
        HypervisorCapabilities.VirtualTime => "counted time",
        HypervisorCapabilities.LocalApic => "local APICs",
        HypervisorCapabilities.SoftwareBreakpoints => "software breakpoints",
        HypervisorCapabilities.HaltsInside => "halts in the kernel",
        HypervisorCapabilities.FullSystem => "whole operating systems",
        _ => capability.ToString(),
    };

    private static bool HasApt() => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(d => File.Exists(Path.Combine(d, "apt-get")));
}
