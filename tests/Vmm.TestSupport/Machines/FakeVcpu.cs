using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.State;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.TestSupport.Machines;

/// <summary>A vCPU whose guest code is a C# delegate. Checks that it is used as the contract of <see cref="IVcpu"/> says.</summary>
public sealed class FakeVcpu(FakePartition partition, int index, Func<FakeVcpu, VcpuStop> script) : IVcpu
{
    private readonly object _lock = new();
    private readonly VcpuState _state = new();
    private bool _kicked;
    private int _running;
    private bool _interrupt;
    private long _runs;

    public int Index => index;

    public ulong InstructionsRetired { get; set; }

    public VcpuCounters Counters { get; } = new();

    public SystemBus Bus => partition.Options.Bus;

    public VmClock Clock => partition.Options.Clock;

    /// <summary>How often Run was called.</summary>
    public long Runs => Volatile.Read(ref _runs);

    public bool IsRunning => Volatile.Read(ref _running) != 0;

    /// <summary>Whether an interrupt is pending; a script takes it with <see cref="TakeInterrupt"/>.</summary>
    public bool ExternalInterrupt { get; private set; }

    public VcpuStop Run()
    {
        if (partition.IsDisposed) throw new InvalidOperationException("Run after the partition was disposed.");
        if (Interlocked.Exchange(ref _running, 1) != 0) throw new InvalidOperationException("Two threads in Run.");
        try
        {
            Interlocked.Increment(ref _runs);
            return TakeKick() ? new VcpuStop(VcpuStopKind.Kicked) : script(this);
        }
        finally
        {
            Volatile.Write(ref _running, 0);
        }
    }

    /// <summary>For scripts: computes until a kick comes, and takes it.</summary>
    public VcpuStop WaitForKick()
    {
        lock (_lock)
        {
            while (!_kicked) Monitor.Wait(_lock);
            _kicked = false;
        }

        Counters.Kicks++;
        return new VcpuStop(VcpuStopKind.Kicked);
    }

    /// <summary>For scripts: whether a kick has come; takes it.</summary>
    public bool TakeKick()
    {
        lock (_lock)
        {
            var kicked = _kicked;
            _kicked = false;
            return kicked;
        }
    }

    /// <summary>For scripts: whether an interrupt has come; takes it.</summary>
    public bool TakeInterrupt()
    {
        lock (_lock)
        {
            var pending = _interrupt;
            _interrupt = false;
            return pending;
        }
    }

    /// <summary>An interrupt arrives, as from a device by way of the local APIC: wakes the vCPU.</summary>
    public void Interrupt()
    {
        lock (_lock) _interrupt = true;
        Kick();
    }

    public void Kick()
    {
        if (partition.IsDisposed) throw new InvalidOperationException("Kick after the partition was disposed.");
        lock (_lock)
        {
            _kicked = true;
            Monitor.PulseAll(_lock);
        }

        partition.Options.Kicked?.Invoke(index);
    }

    public void SetExternalInterrupt(bool level)
    {
        ExternalInterrupt = level;
        if (level) Interrupt();
    }

    public void InjectNmi() => Interrupt();

    public void GetState(VcpuState state)
    {
        if (IsRunning) throw new InvalidOperationException("GetState while running.");
        Copy(_state, state);
    }

    public void SetState(VcpuState state)
    {
        if (IsRunning) throw new InvalidOperationException("SetState while running.");
        Copy(state, _state);
    }

    private static void Copy(VcpuState from, VcpuState to)
    {
        to.SetPowerOn();
        StateReader.Load("vcpu", StateWriter.Save(from), to);
    }
}
