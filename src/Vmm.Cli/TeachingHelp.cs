using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Vmm.Cli;

/// <summary>The help of System.CommandLine, and below it examples and what a script needs to know.</summary>
internal sealed class TeachingHelp(HelpAction options) : SynchronousCommandLineAction
{
    private const string Examples = """
        Examples:
          vmm run --linux                                     a Linux shell; Ctrl-A x leaves
          echo 'uname -a' | vmm run --linux                   the same from a script
          vmm run --linux --command 'cat /proc/cpuinfo'       one command, then power-off
          vmm run --kernel bzImage --initrd initrd.img --append "console=ttyS0 reboot=t panic=-1"
          vmm run --kernel kernel.elf --module data.img=ro --module boot.cfg      Multiboot or PVH
          vmm run --kernel test.elf --debug-exit 0xf4 --timeout 10 --report run.json
          vmm run --linux --disk root.qcow2,format=qcow2 --disk tools.img,format=raw,readonly
          vmm image create disk.qcow2 10G --format qcow2      an empty disk; 'vmm image --help' has more
          vmm run --firmware bios.bin                         from the reset vector
          vmm doctor                                          what this host can do
        """;

    private const string Script = """
        Exit codes:
          0    the guest switched the power off
          odd  a write to the debug-exit port: (value << 1) | 1, of which the system keeps 8 bits
          64   bad arguments                   72   triple fault
          66   image missing or not loadable   74   the guest asked for a reset
          68   no usable backend               76   the guest's kernel panicked (pvpanic)
          70   the host or vmm failed          124  --timeout was reached
                                               130  stopped by Ctrl-A x or a signal

        Console keys, where standard input is a terminal:
          Ctrl-A x  kill the guest and leave      Ctrl-A Ctrl-A  send Ctrl-A      Ctrl-A h  this list
        """;

    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        var code = options.Invoke(parseResult);
        var output = parseResult.InvocationConfiguration.Output;
        if (parseResult.CommandResult.Command is not (RootCommand or { Name: "run" })) return code;
        output.WriteLine(Examples);
        output.WriteLine();
        if (parseResult.CommandResult.Command is not RootCommand) output.WriteLine(Script);
        return code;
    }
}
