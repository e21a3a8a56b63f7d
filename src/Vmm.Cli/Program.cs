using Vmm.Cli;
using Vmm.Cli.Terminal;

return await CommandLine.RunAsync(args, HostStreams.OfThisProcess()).ConfigureAwait(false);
