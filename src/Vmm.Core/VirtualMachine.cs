using System.Diagnostics;
using Vmm.Core.Backends;
using Vmm.Core.Boards;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.Execution;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Core;

/// <summary>
/// A virtual machine: an ordinary disposable object. Its vCPUs run on threads of their own; all members may be called from any
/// thread. Disposing kills the guest and frees everything.
/// </summary>
[DebuggerDisplay("{Name,nq} {State}")]
public sealed class VirtualMachine : IAsyncDisposable, IDisposable
{
    private readonly Lock _lifecycle = new();
    private readonly TaskCompletionSource<MachineExit> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly InletGate _inlets = new();
    private readonly VcpuRunner[] _runners;
    private readonly List<MemoryRegion> _regions = [];

    internal VirtualMachine(VirtualMachineBuilder options)
    {
        Name = options.Name;
        var memory = new GuestMemory();
        Bus = new SystemBus(memory);
        Clock = new VmClock(options.TimeProvider, options.NanosecondsPerInstruction);
        try
        {
            var board = options.Board!();
            foreach (var (start, length) in board.LayOutMemory(options.Memory)) Add(MemoryRegion.Allocate($"ram{_regions.Count}", start, length));
            foreach (var region in options.Regions) Add(region());
            Partition = options.Backend!.CreatePartition(new PartitionOptions
            {
                Bus = Bus, Clock = Clock, VcpuCount = options.Vcpus, CpuModel = options.CpuModel, LoggerFactory = options.LoggerFactory,
            });
            Context = new MachineContext(board, Bus, Clock, Partition, options.LoggerFactory, _inlets, End);
            board.Attach(Context);
            foreach (var part in options.Parts) part(Context);
            foreach (var (_, device) in Context.Devices) device.Reset();
            var boot = board.WriteTables(Context);
            var problems = options.Loader!.Validate(boot).ToArray();
            if (problems.Length > 0) throw new Errors.VmmConfigurationException([.. problems]);
            var state = new VcpuState();
            options.Loader.Load(boot, state);
            Partition.Vcpus[0].SetState(state);
            _runners = [.. Partition.Vcpus.Select(v => new VcpuRunner(this, v))];
        }
        catch
        {
            Release();
            throw;
        }
    }

    /// <summary>The name it was built with.</summary>
    public string Name { get; }

    /// <summary>Where it is in its life.</summary>
    public MachineState State { get; private set; }

    /// <summary>Completes when the guest ends, with how it ended; never with an exception.</summary>
    public Task<MachineExit> Completion => _completion.Task;

    /// <summary>Ports, memory-mapped I/O and memory.</summary>
    public SystemBus Bus { get; }

    /// <summary>Guest-physical memory.</summary>
    public GuestMemory Memory => Bus.Memory;

    /// <summary>The clock.</summary>
    public VmClock Clock { get; }

    /// <summary>The backend's side: the low-level access that is always there.</summary>
    public IPartition Partition { get; } = null!;

    /// <summary>Devices, board and wiring.</summary>
    public MachineContext Context { get; } = null!;

    /// <summary>Starts the vCPUs.</summary>
    /// <param name="cancellationToken">Cancels before anything has begun.</param>
    /// <exception cref="InvalidOperationException">It was started already.</exception>
    public Task StartAsync(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        lock (_lifecycle)
        {
            ObjectDisposedException.ThrowIf(State == MachineState.Disposed, this);
            if (State != MachineState.Created) throw new InvalidOperationException($"The machine is {State}; only a new one can be started.");
            State = MachineState.Running;
            Clock.Resume();
            _inlets.Open();
            foreach (var runner in _runners) runner.Start();
        }

        return Task.CompletedTask;
    }

    /// <summary>Kills the guest and frees everything. Idempotent.</summary>
    public void Dispose()
    {
        lock (_lifecycle)
        {
            if (State == MachineState.Disposed) return;
            End(new MachineExit(MachineExitKind.Killed));
            State = MachineState.Disposed;
        }

        foreach (var runner in _runners) runner.Join();
        Release();
    }

    /// <summary>Kills the guest and frees everything. Idempotent.</summary>
    public ValueTask DisposeAsync()
    {
        Dispose();
        return ValueTask.CompletedTask;
    }

    internal void End(MachineExit exit)
    {
        if (!_completion.TrySetResult(exit)) return;
        foreach (var runner in _runners ?? []) runner.Stop();
    }

    private void Add(MemoryRegion region)
    {
        _regions.Add(region);
        Memory.Add(region);
    }

    private void Release()
    {
        Clock.Dispose();
        if (Context is not null)
        {
            foreach (var (_, device) in Context.Devices) (device as IDisposable)?.Dispose();
        }

        Partition?.Dispose();
        foreach (var region in _regions) region.Dispose();
    }
}
