using Vmm.Backends.Software;
using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Vmm.Cli.Running;
using Vmm.Cli.Terminal;
using Vmm.Core;
using Vmm.Core.X86;
using Vmm.Devices.Chipset;

namespace Vmm.Cli.Commands;

/// <summary>The options of <c>vmm run</c>.</summary>
internal sealed class RunCommand
{
    private const ulong DefaultMemory = 256 << 20;

    private readonly Option<bool> _linux = new("--linux") { Description = "Boot the Debian cloud kernel to a busybox shell; both are found on this host or fetched into the cache. --kernel and --busybox name others." };
    private readonly Option<string?> _kernel = Text("--kernel", "FILE", "Boot a kernel: a Linux bzImage or vmlinux, a Multiboot 1 image, or an ELF file with a PVH entry.");
    private readonly Option<string?> _firmware = Text("--firmware", "ROM", "Start a firmware image at the reset vector.");
    private readonly Option<string?> _initrd = Text("--initrd", "FILE", "The kernel's initial RAM disk.");
    private readonly Option<string[]> _modules = new("--module") { HelpName = "FILE[=ARGS]", Description = "A module for a Multiboot or PVH kernel, with arguments; may be given several times." };
    private readonly Option<string?> _append = Text("--append", "STR", "The kernel command line. With --linux it follows console=ttyS0 reboot=t panic=-1.");
    private readonly Option<string?> _command = Text("--command", "STR", "With --linux: run this shell script instead of an interactive shell, then power off.");
    private readonly Option<string?> _busybox = Text("--busybox", "FILE", "With --linux: the static busybox to use.");
    private readonly Option<string?> _board = Choice("--board", "microvm or pc. Default: microvm; pc with --firmware.", ["microvm", "pc"]);
    private readonly Option<string?> _backend = Choice("--backend", "auto, kvm, whp or software. Default: auto, the first that runs whole operating systems here.", ["auto", "kvm", "whp", "software"]);
    private readonly Option<string?> _engine = Choice("--cpu-engine", "With the software CPU: interpret, or translate into machine code. Default: auto.", ["auto", "interpret", "translate"]);
    private readonly Option<ulong?> _memory = new("--memory")
    {
        HelpName = "SIZE", Description = "RAM, with a unit: 256M, 2G. Default: 256M.",
        CustomParser = r => Parse<ulong>(r, t => Units.Size(t) is >= VirtualMachineBuilder.MinimumMemory and <= 1UL << 42 and var size && size % 4096 == 0 ? size : null, "give a multiple of 4K from 64K to 4T, with a unit, such as 256M or 1G"),
    };

    private readonly Option<int?> _cpus = new("--cpus")
    {
        HelpName = "N", Description = "vCPUs, 1 to 255. Default: 1.",
        CustomParser = r => Parse<int>(r, t => int.TryParse(t, NumberStyles.None, CultureInfo.InvariantCulture, out var n) && n is >= 1 and <= VirtualMachineBuilder.MaximumVcpus ? n : null, "give a number from 1 to 255"),
    };

    private readonly Option<string?> _model = Choice("--cpu-model", $"The CPU the guest sees: {string.Join(", ", CpuModel.Named.Select(m => m.Name))}. Default: {CpuModel.X86_64_V3.Name}.", [.. CpuModel.Named.Select(m => m.Name)]);
    private readonly Option<ushort?> _debugExit = new("--debug-exit")
    {
        HelpName = "PORT", Description = "A port (4 wide) by which the guest ends the run with the value it writes, such as 0xf4.",
        CustomParser = r => Parse<ushort>(r, t => Units.Port(t) is { } port && port <= 0x10000 - DebugExit.WindowLength ? port : null, "give a port from 0 to 0xfffc, such as 0xf4"),
    };

    private readonly Option<string?> _console = Text("--console", "stdio|none|FILE", "Where the serial console goes. Default: stdio.");
    private readonly Option<TimeSpan?> _timeout = new("--timeout")
    {
        HelpName = "SECONDS", Description = "Kill the guest after so long.",
        CustomParser = r => Parse<TimeSpan>(r, Units.Seconds, "give a number of seconds above 0, at most 30 days"),
    };

    private readonly Option<DiskArgument[]> _disks = new("--disk")
    {
        HelpName = "FILE,format=...", Description = $"A virtio disk; may be given several times. {DiskArgument.Syntax}. overlay keeps changes in memory, overlay=FILE in a qcow2 image; the file stays as it is.",
        CustomParser = ParseDisks,
    };

    private readonly Option<bool> _rng = new("--rng") { Description = "A virtio source of random bytes." };
    private readonly Option<bool> _virtioConsole = new("--virtio-console") { Description = "The guest's terminal is a virtio console (Linux: hvc0), not the serial port, which then goes nowhere or to --console FILE." };
    private readonly Option<string?> _transport = Choice("--transport", "How virtio devices are plugged in: mmio or pci. Default: mmio.", ["mmio", "pci"]);
    private readonly Option<string?> _report = Text("--report", "FILE.json", "Write how it ended, the boot timeline, instructions and exits.");

    public static Command Create(HostStreams streams)
    {
        var run = new RunCommand();
        var command = new Command("run", "Runs a guest, with its serial console on standard input and output.")
        {
            run._linux, run._kernel, run._firmware, run._initrd, run._modules, run._append, run._command, run._busybox, run._board, run._backend, run._engine, run._memory, run._cpus, run._model,
            run._disks, run._rng, run._virtioConsole, run._transport, run._debugExit, run._console, run._timeout, run._report,
        };
        command.Validators.Add(run.Check);
        command.SetAction((parsed, _) => new GuestRun(run.Read(parsed), streams).RunAsync());
        return command;
    }

    private RunOptions Read(ParseResult parsed) => new()
    {
        Linux = parsed.GetValue(_linux),
        Kernel = parsed.GetValue(_kernel),
        Firmware = parsed.GetValue(_firmware),
        Initrd = parsed.GetValue(_initrd),
        Modules = [.. (parsed.GetValue(_modules) ?? []).Select(ModuleFile.Parse)],
        Append = parsed.GetValue(_append),
        Command = parsed.GetValue(_command),
        Busybox = parsed.GetValue(_busybox),
        Board = parsed.GetValue(_board) ?? (parsed.GetValue(_firmware) is null ? "microvm" : "pc"),
        Backend = parsed.GetValue(_backend) ?? "auto",
        Engine = Enum.Parse<CpuEngine>(parsed.GetValue(_engine) ?? "auto", ignoreCase: true),
        Memory = parsed.GetValue(_memory) ?? DefaultMemory,
        Cpus = parsed.GetValue(_cpus) ?? 1,
        CpuModel = CpuModel.Find(parsed.GetValue(_model) ?? CpuModel.X86_64_V3.Name)!,
        DebugExit = parsed.GetValue(_debugExit),
        Console = parsed.GetValue(_console) ?? (parsed.GetValue(_virtioConsole) ? "none" : "stdio"),
        VirtioConsole = parsed.GetValue(_virtioConsole),
        Timeout = parsed.GetValue(_timeout),
        Report = parsed.GetValue(_report),
        Disks = [.. parsed.GetValue(_disks) ?? []],
        Rng = parsed.GetValue(_rng),
        Pci = parsed.GetValue(_transport) == "pci",
    };

    private void Check(CommandResult result)
    {
        bool Has(Option option) => result.GetResult(option) is { Implicit: false };
        void OnlyWith(Option option, string with, bool allowed)
        {
            if (Has(option) && !allowed) result.AddError($"{option.Name} goes with {with}.");
        }

        bool linux = Has(_linux), kernel = Has(_kernel), firmware = Has(_firmware);
        if (!linux && !kernel && !firmware) result.AddError("nothing to run: give --linux, --kernel FILE or --firmware ROM.");
        if (firmware && (linux || kernel)) result.AddError("--firmware starts by itself: give it without --kernel and --linux.");
        OnlyWith(_initrd, "--kernel, without --linux, which has an initramfs of its own", kernel && !linux);
        OnlyWith(_modules, "--kernel, without --linux", kernel && !linux);
        OnlyWith(_append, "--kernel or --linux", kernel || linux);
        OnlyWith(_command, "--linux", linux);
        OnlyWith(_busybox, "--linux", linux);
        if (Has(_virtioConsole) && result.GetValue(_console) == "stdio") result.AddError("--console stdio goes without --virtio-console, whose terminal that is: give a file or none.");
    }

    private static DiskArgument[] ParseDisks(ArgumentResult result) =>
        [.. result.Tokens.Select(t => DiskArgument.Parse(t.Value, reason => result.AddError($"--disk {t.Value}: {reason}."))).OfType<DiskArgument>()];

    private static Option<string?> Text(string name, string helpName, string description) => new(name)
    {
        HelpName = helpName, Description = description,
        CustomParser = r => r.Tokens is [{ Value: { Length: > 0 } text }] ? text : Refuse<string>(r, "it is empty"),
    };

    private static Option<string?> Choice(string name, string description, string[] values)
    {
        var option = new Option<string?>(name)
        {
            HelpName = string.Join('|', values), Description = description,
            CustomParser = r => r.Tokens is [{ Value: var text }] && values.Contains(text) ? text : Refuse<string>(r, $"choose {string.Join(", ", values[..^1])} or {values[^1]}"),
        };
        option.CompletionSources.Add(values);
        return option;
    }

    private static T Parse<T>(ArgumentResult result, Func<string, T?> parse, string mend) where T : struct =>
        result.Tokens is [{ Value: var text }] && parse(text) is { } value ? value : Refuse<T>(result, mend);

    private static T? Refuse<T>(ArgumentResult result, string mend)
    {
        var option = (result.Parent as OptionResult)?.Option.Name ?? result.Argument.Name;
        result.AddError($"{option} {string.Join(' ', result.Tokens.Select(t => t.Value))}: {mend}.");
        return default;
    }
}
