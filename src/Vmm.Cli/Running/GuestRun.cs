using Vmm.Backends.Software;
using System.Reflection;
using System.Text;
using Vmm.Cli.Commands;
using Vmm.Cli.Reports;
using Vmm.Cli.Terminal;
using Vmm.Core;
using Vmm.Core.Backends;
using Vmm.Core.Errors;
using Vmm.Core.Telemetry;
using Vmm.Devices.Boards;
using Vmm.Devices.Chipset;
using Vmm.Devices.Storage;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Devices.Virtio.Console;
using Vmm.Devices.Virtio.Rng;
using Vmm.Guests;

namespace Vmm.Cli.Running;

/// <summary>One <c>vmm run</c>, from checked options to exit code.</summary>
internal sealed class GuestRun(RunOptions options, HostStreams streams)
{
    private static readonly TimeSpan DrainTime = TimeSpan.FromSeconds(10);

    // What follows piped input, since a serial line has no end of file: the shell's exit, or a terminal's Ctrl-D.
    private static ReadOnlySpan<byte> ShellExit => "exit\n"u8;

    private static ReadOnlySpan<byte> TerminalEnd => [0x04];

    private readonly TaskCompletionSource _listening = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private VirtualMachine? _machine;
    private IDisposable? _windowChanged;

    public async Task<int> RunAsync()
    {
        using var signals = new TerminationSignals();
        using var report = options.Report is null ? null : ReportFile.Open(options.Report);
        var backend = SelectBackend();
        BootSource source;
        try
        {
            source = await BootSource.LoadAsync(options, streams, signals.Token).ConfigureAwait(false);
            // Off the stack of what read the images, which holds on to them.
            await Task.Yield();
        }
        catch (OperationCanceledException)
        {
            return ExitCode.Interrupted;
        }

        var marks = Marks();
        var output = OpenOutput(Place);
        await using var closing = output.ConfigureAwait(false);
        var console = new HostConsole(output, marks);
        var log = OpenOutput(options.VirtioConsole ? options.Console : "none");
        await using var closingLog = log.ConfigureAwait(false);
        var serial = options.VirtioConsole ? new HostConsole(log, new ConsoleMarks(static _ => { })) : console;
        var disks = await OpenDisksAsync().ConfigureAwait(false);
        VirtualMachine machine;
        try
        {
            machine = _machine = Build(backend, source, console, serial, disks);
        }
        catch
        {
            foreach (var disk in disks) await disk.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        // The images are in the guest's memory now. Little is allocated from here on, so nothing else would free them on the host.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive);

        RunEnd end;
        IDisposable? raw = null;
        await using (machine.ConfigureAwait(false))
        {
            try
            {
                raw = Connect(console, backend, source);
                if (serial != console) StartUnattended(serial, options.Console);
                await machine.StartAsync().ConfigureAwait(false);
                end = await WaitAsync(machine, console, signals).ConfigureAwait(false);
            }
            catch
            {
                raw?.Dispose();
                throw;
            }
        }

        // The port was closed with the machine, so this ends, unless nobody takes what is written.
        await Task.WhenAny(Task.WhenAll(console.DrainAsync(), serial.DrainAsync()), Task.Delay(DrainTime)).ConfigureAwait(false);
        raw?.Dispose();
        _windowChanged?.Dispose();
        Tell(end, console);
        report?.Write(Report(source, backend, end, marks));
        return end.Code;
    }

    private static async Task<RunEnd> EndAsync(VirtualMachine machine, bool timedOut)
    {
        var exit = await machine.KillAsync().ConfigureAwait(false);

        // The guest may have ended by itself in the last moment.
        return new RunEnd(exit, timedOut && exit.Kind == MachineExitKind.Killed);
    }

    private async Task<RunEnd> WaitAsync(VirtualMachine machine, HostConsole console, TerminationSignals signals)
    {
        using var over = new CancellationTokenSource();
        var timeout = Task.Delay(options.Timeout ?? Timeout.InfiniteTimeSpan, over.Token);
        var first = await Task.WhenAny(machine.Completion, timeout, console.Left, signals.Received).ConfigureAwait(false);
        await over.CancelAsync().ConfigureAwait(false);
        return await EndAsync(machine, first == timeout).ConfigureAwait(false);
    }

    private async Task<IReadOnlyList<IBlockStore>> OpenDisksAsync()
    {
        List<IBlockStore> open = [];
        foreach (var disk in options.Disks)
        {
            try
            {
                open.Add(await disk.OpenAsync().ConfigureAwait(false));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or VmmException or ArgumentException)
            {
                foreach (var store in open) await store.DisposeAsync().ConfigureAwait(false);
                throw new CliException(ExitCode.BadImage, $"--disk {disk.File}: {e.Message}");
            }
        }

        return open;
    }

    private IHypervisor SelectBackend()
    {
        try
        {
            var backend = VmmHost.SelectBackend(options.Backend);
            if (options.Backend != "auto" && backend.Probe() is var probe && !probe.Capabilities.HasFlag(HypervisorCapabilities.FullSystem))
            {
                streams.Error.WriteLine($"vmm: {backend.Name}: {probe.Detail} If this guest hangs or fails, use --backend software.");
            }

            return backend is SoftwareHypervisor ? new SoftwareHypervisor { Engine = options.Engine } : backend;
        }
        catch (VmmConfigurationException e)
        {
            throw new CliException(ExitCode.NoBackend, [.. e.Problems, "'vmm doctor' tells more."]);
        }
    }

    private VirtualMachine Build(IHypervisor backend, BootSource source, HostConsole console, HostConsole serial, IReadOnlyList<IBlockStore> disks)
    {
        var port = options.Console == "none" ? null : serial;
        var builder = new VirtualMachineBuilder()
            .WithName("vmm")
            .WithBackend(backend)
            .WithBoard(() => options.Board == "pc" ? new PcBoard(new PcOptions { Console = port }) : new MicroVmBoard(new MicroVmOptions { Console = port, Pci = options.Pci }))
            .WithMemory(options.Memory)
            .WithVcpus(options.Cpus)
            .WithCpuModel(options.CpuModel)
            .AddPvPanic();
        var virtio = new VirtioOptions { Transport = options.Pci ? VirtioTransportKind.Pci : VirtioTransportKind.Mmio };
        for (var i = 0; i < disks.Count; i++)
        {
            var (disk, store) = (options.Disks[i], disks[i]);
            var limit = new RateLimit { OperationsPerSecond = disk.OperationsPerSecond, BytesPerSecond = disk.BytesPerSecond };
            builder = builder.AddVirtioBlock($"disk{i}", () => store, new VirtioBlockOptions { Serial = disk.Serial, ReadOnly = disk.IsGuestReadOnly, Limit = limit, Queues = Math.Min(options.Cpus, 64) }, virtio);
        }

        if (options.Rng) builder = builder.AddVirtioRng(options: virtio);
        if (options.VirtioConsole) builder = builder.AddVirtioConsole([new VirtioConsolePort("terminal", console, IsConsole: true)], virtio, Follow);
        if (options.DebugExit is { } debugExit) builder = builder.AddDebugExit(debugExit);
        try
        {
            return source.AddTo(builder).Build();
        }
        catch (VmmConfigurationException e)
        {
            throw new CliException(ExitCode.BadImage, e.Problems);
        }
        catch (BootImageException e)
        {
            throw new CliException(ExitCode.BadImage, e.Message);
        }
    }

    /// <summary>The moments that a console tells of.</summary>
    private ConsoleMarks Marks()
    {
        var marks = new ConsoleMarks(OnMark);
        marks.Add("linux-version", "Linux version"u8);
        marks.Add("run-init", "Run /init as init process"u8);
        marks.Add("guest-ready", Encoding.UTF8.GetBytes(LinuxShell.DefaultReadyMarker));
        if (options is { Linux: true, Command: null }) marks.Add("shell-prompt", "#"u8, after: "guest-ready");
        return marks;
    }

    private void OnMark(string name)
    {
        _machine?.Timeline.Mark(name);
        if (name == (options.Command is null ? "shell-prompt" : "guest-ready")) _listening.TrySetResult();
    }

    /// <summary>Where the console goes that the user is at.</summary>
    private string Place => options.VirtioConsole ? "stdio" : options.Console;

    /// <summary>Gives the console the size of the terminal, now and when it changes.</summary>
    private void Follow(VirtioConsole console) => _windowChanged = streams.FollowWindowSize(console.SetWindowSize);

    private Stream OpenOutput(string place)
    {
        if (place == "none") return Stream.Null;
        if (place == "stdio") return streams.OpenOutput();
        try
        {
            return new FileStream(place, FileMode.Create, FileAccess.Write, FileShare.Read);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.BadArguments, $"--console {place}: {e.Message}");
        }
    }

    private static void StartUnattended(HostConsole console, string place)
    {
        if (place != "none") console.StartOutput();
        console.StartWithoutInput();
    }

    /// <summary>Connects the console to the host's streams; returns what gives the terminal back.</summary>
    private IDisposable? Connect(HostConsole console, IHypervisor backend, BootSource source)
    {
        if (Place != "stdio")
        {
            StartUnattended(console, Place);
            return null;
        }

        console.StartOutput();

        if (!streams.IsInputTerminal)
        {
            // Typed ahead, the lines of a script would be echoed before the shell has shown its prompt.
            var atEnd = !options.Linux ? [] : options.Command is null ? ShellExit : TerminalEnd;
            console.StartPiped(streams.OpenInput(), options.Linux ? _listening.Task : Task.CompletedTask, [.. atEnd]);
            return null;
        }

        var cpus = options.Cpus == 1 ? "1 vCPU" : $"{options.Cpus} vCPUs";
        streams.Error.WriteLine($"vmm: {source.Name} on {backend.Name}, {cpus}, {Units.Show(options.Memory)}. Ctrl-A x leaves, Ctrl-A h helps.");
        var raw = streams.EnterRawMode();
        console.StartTerminal(streams.OpenInput());
        return raw;
    }

    private void Tell(RunEnd end, HostConsole console)
    {
        // The guest may have left the cursor in the middle of a line.
        if (streams.IsInputTerminal && Place == "stdio") streams.Error.WriteLine();
        if (console.OutputFailure is { } failure) streams.Error.WriteLine($"vmm: the console's output could not be written: {failure.Message}");
        if (end.Sentence(options.Timeout) is { } sentence) streams.Error.WriteLine($"vmm: {sentence}");
    }

    private static double Milliseconds(long nanoseconds) => Math.Round(nanoseconds / 1e6, 3);

    private RunReport Report(BootSource source, IHypervisor backend, RunEnd end, ConsoleMarks marks)
    {
        var statistics = _machine!.Statistics;
        var timeline = _machine.Timeline;
        double? run = timeline[BootTimeline.Ended] - timeline[BootTimeline.FirstInstruction] is { } nanoseconds ? Milliseconds(nanoseconds) : null;
        return new RunReport
        {
            VmmVersion = typeof(GuestRun).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown",
            Machine = new MachineReport(source.Name, backend.Name, options.Board, options.Memory, options.Cpus, options.CpuModel.Name),
            Exit = new ExitReport(end.Kind, end.Machine.Kind == MachineExitKind.DebugExit ? end.Machine.Code : null, end.Code, end.Machine.Error?.ToString()),
            Timeline = [.. timeline.Marks.Select(m => new TimelineMark(m.Name, Milliseconds(m.Nanoseconds)))],
            RunMilliseconds = run,
            HostCpuMilliseconds = Math.Round(Environment.CpuUsage.TotalTime.TotalMilliseconds, 3),
            InstructionsRetired = statistics.InstructionsRetired > 0 ? statistics.InstructionsRetired : null,
            Mips = run > 0 && statistics.InstructionsRetired > 0 ? Math.Round(statistics.InstructionsRetired / run.Value / 1000, 3) : null,
            Exits = statistics.Exits.ToDictionary(e => e.Kind, e => e.Count),
            UnclaimedPortAccesses = statistics.UnclaimedPorts,
            UnclaimedMemoryAccesses = statistics.UnclaimedMemory,
            ConsoleBytes = marks.Length,
        };
    }
}
