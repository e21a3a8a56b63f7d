using System.CommandLine;
using System.CommandLine.Help;
using Vmm.Cli.Commands;
using Vmm.Cli.Terminal;

namespace Vmm.Cli;

/// <summary>The command line as a function: arguments and streams in, exit code out. Never throws.</summary>
internal static class CommandLine
{
    public static async Task<int> RunAsync(IReadOnlyList<string> arguments, HostStreams streams)
    {
        try
        {
            var parsed = Root(streams).Parse(arguments.Count == 0 ? ["--help"] : arguments, new ParserConfiguration { EnablePosixBundling = false, ResponseFileTokenReplacer = null });
            if (parsed.Errors.Count > 0) throw new CliException(ExitCode.BadArguments, [.. parsed.Errors.Select(e => e.Message).Distinct(), Hint(parsed)]);
            return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null, Output = streams.Text, Error = streams.Error }).ConfigureAwait(false);
        }
        catch (CliException e)
        {
            foreach (var problem in e.Problems) streams.Error.WriteLine($"vmm: {problem}");
            return e.ExitCode;
        }
        catch (Exception e)
        {
            streams.Error.WriteLine($"vmm: {e.GetType().Name}: {e.Message}");
            return ExitCode.HostFailure;
        }
    }

    private static RootCommand Root(HostStreams streams)
    {
        var root = new RootCommand("Virtual machines on KVM, the Windows Hypervisor Platform, or a CPU in software.")
        {
            HelpName = "vmm",
        };
        root.Add(RunCommand.Create(streams));
        root.Add(DoctorCommand.Create(streams));
        root.Add(ImageCommand.Create(streams));
        foreach (var option in root.Options)
        {
            if (option is HelpOption { Action: HelpAction action } help) help.Action = new TeachingHelp(action);
        }

        return root;
    }

    private static string Hint(ParseResult parsed) => parsed.CommandResult.Command is RootCommand ? "try 'vmm --help'." : $"try 'vmm {parsed.CommandResult.Command.Name} --help'.";
}
