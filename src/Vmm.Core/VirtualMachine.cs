using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vmm.Core.Backends;
using Vmm.Core.Boards;
using Vmm.Core.Boot;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.Errors;
using Vmm.Core.Execution;
using Vmm.Core.Memory;
using Vmm.Core.Telemetry;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Core;

/// <summary>
/// A virtual machine: an ordinary disposable object. Its vCPUs run on threads of their own; all members may be called from any
/// thread, callbacks of the machine included, as long as those do not block on the returned tasks. Disposing kills the guest and
/// frees everything.
/// </summary>
[DebuggerDisplay("{Name,nq} {State}")]
public sealed partial class VirtualMachine : IAsyncDisposable, IDisposable
{
    private readonly TaskCompletionSource<MachineExit> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly VcpuGate _gate;
    private readonly VcpuRunner[] _runners = [];
    private readonly List<MemoryRegion> _regions = [];
    private readonly TimeProvider _time;
    private readonly ILogger _log;

    internal VirtualMachine(VirtualMachineBuilder options, List<string> problems)
    {
        Name = options.Name;
        _time = options.TimeProvider;
        _log = options.LoggerFactory.CreateLogger("Vmm.Machine");
        _gate = new VcpuGate(OnVcpusGone);
        _telemetry = new MachineTelemetry(Name, () => Statistics);
        Timeline = new BootTimeline(_time) { ConsoleReached = () => _telemetry.EndBoot() };
        Bus = new SystemBus(new GuestMemory());
        Clock = new VmClock(_time, options.NanosecondsPerInstruction) { Faulted = Fail };
        Inlets = new InletGate(Fail, Clock.IsCounted ? KickFirst : null);
        using var span = MachineTelemetry.Span("vmm.build", Name);
        try
        {
            var build = new MachineBuild(problems);
            var board = options.Board!();
            AddMemory(options, board, build);
            Partition = options.Backend!.CreatePartition(new PartitionOptions
            {
                Bus = Bus, Clock = Clock, VcpuCount = options.Vcpus, CpuModel = options.CpuModel, LoggerFactory = options.LoggerFactory, Kicked = OnKicked,
            });
            if (Clock.IsCounted && !Partition.Capabilities.HasFlag(HypervisorCapabilities.VirtualTime))
            {
                problems.Add($"Counted time needs a backend with {nameof(HypervisorCapabilities.VirtualTime)}, which '{options.Backend.Name}' has not; use the software CPU.");
            }

            Context = new MachineContext(board, Bus, Clock, Partition, options.LoggerFactory, Inlets, Timeline, End, OnEjected);
            build.Try(() => board.Attach(Context));
            foreach (var part in options.Parts) build.Try(() => part(Context));
            foreach (var (_, device) in Context.Devices) device.Reset();
            Load(options, board, build);
            var share = ShareKeeper.Create(options.Share);
            Context.IsBuilt = true;
            _runners = [.. Partition.Vcpus.Select(v => new VcpuRunner(this, _gate, v, share))];
            Timeline.Mark(BootTimeline.Loaded);
            LogBuilt(Name, options.Vcpus, options.Backend.Name, Memory.RamSize, Context.Devices.Count);
        }
        catch (Exception e)
        {
            span?.SetStatus(ActivityStatusCode.Error, e.Message);
            Free();
            throw;
        }
    }

    /// <summary>The name it was built with.</summary>
    public string Name { get; }

    /// <summary>
    /// Completes with how the machine ended, when its vCPUs and its clock have come to rest, so that their state may be read;
    /// never with an exception.
    /// </summary>
    public Task<MachineExit> Completion => _completion.Task;

    /// <summary>Ports, memory-mapped I/O and memory.</summary>
    public SystemBus Bus { get; }

    /// <summary>Guest-physical memory.</summary>
    public GuestMemory Memory => Bus.Memory;

    /// <summary>The clock.</summary>
    public VmClock Clock { get; }

    /// <summary>
    /// The backend's side: the low-level access that is always there. State of vCPUs may be read and set while the machine was not
    /// started, is paused, or has ended.
    /// </summary>
    public IPartition Partition { get; } = null!;

    /// <summary>Devices, board and wiring.</summary>
    public MachineContext Context { get; } = null!;

    internal InletGate Inlets { get; }

    /// <summary>Called on the vCPU's thread, outside Run, when a single step or breakpoint of the host's has stopped it; it then runs on.</summary>
    internal Action<IVcpu>? DebugStopped { get; set; }

    internal void OnDebugStop(IVcpu vcpu) => DebugStopped?.Invoke(vcpu);

    private void Fail(Exception error) => End(new MachineExit(MachineExitKind.Failed, Error: error));

    private void KickFirst()
    {
        if (_runners is [var first, ..]) first.Kick();
    }

    /// <summary>Kicks every vCPU: it comes out of Run or of its wait, and goes on.</summary>
    internal void Kick() => KickAll();

    private void KickAll()
    {
        foreach (var runner in _runners) runner.Kick();
    }

    private void OnKicked(int index)
    {
        var runners = _runners;
        if ((uint)index < (uint)runners.Length) runners[index].Wake();
    }

    private void AddMemory(VirtualMachineBuilder options, IBoard board, MachineBuild build)
    {
        build.Try(() =>
        {
            foreach (var (start, length) in board.LayOutMemory(options.Memory)) Add(MemoryRegion.Allocate($"ram{_regions.Count}", start, length));
        });
        foreach (var region in options.Regions) build.Try(() => Add(region()));
    }

    private void Load(VirtualMachineBuilder options, IBoard board, MachineBuild build)
    {
        // The tables are about what is there; of a machine that lacks parts they, and the loader's opinion of them, may still be worth having.
        BootContext? boot = null;
        build.Try(() => boot = board.WriteTables(Context));
        if (boot is not null && options.Loader is not null) build.Problems.AddRange(options.Loader.Validate(boot));
        if (build.Problems.Count > 0) throw new VmmConfigurationException([.. build.Problems]);
        var state = new VcpuState();
        options.Loader!.Load(boot!, state);
        Partition.Vcpus[0].SetState(state);
    }

    private void Add(MemoryRegion region)
    {
        _regions.Add(region);
        Memory.Add(region);
    }

    /// <summary>Frees everything once nothing runs any more. One part that fails to go does not keep the others.</summary>
    private void Free()
    {
        KeepStatistics();
        foreach (var runner in _runners) runner.Join();
        FreePart("clock", Clock);
        FreeLeaving();
        if (Context is not null)
        {
            foreach (var (name, device) in Context.Devices.Reverse()) FreePart(name, device as IDisposable);
        }

        FreePart("partition", Partition);
        foreach (var region in _regions.Concat(Context?.DeviceMemory ?? [])) FreePart(region.Name, region);
        FreePart("telemetry", _telemetry);
    }

    private void FreePart(string name, IDisposable? part)
    {
        try
        {
            part?.Dispose();
        }
        catch (Exception e)
        {
            LogDisposalFailed(e, name, Name);
        }
    }
}
