using Vmm.Core.Backends;
using Vmm.Core.Errors;
using Vmm.Core.Telemetry;
using Vmm.Core.Time;

namespace Vmm.Core.Execution;

/// <summary>
/// The one outer loop: runs a vCPU on a thread of its own and decides what follows each stop. A halted vCPU waits on a signal
/// that every kick sets; the backend kicks a halted vCPU itself when an interrupt comes for it.
/// </summary>
internal sealed class VcpuRunner
{
    private readonly VirtualMachine _machine;
    private readonly VcpuGate _gate;
    private readonly IVcpu _vcpu;
    private readonly AlarmSignal _wake = AlarmSignal.Create();
    private readonly VcpuLease? _lease;
    private readonly Lock _kicks = new();
    private Thread? _thread;
    private bool _gone;

    /// <summary>Makes the runner of one vCPU; its thread is not started.</summary>
    /// <param name="machine">Told how it ends.</param>
    /// <param name="gate">The machine's gate.</param>
    /// <param name="vcpu">What is run.</param>
    /// <param name="share">The machine's CPU share, or null for all there is.</param>
    public VcpuRunner(VirtualMachine machine, VcpuGate gate, IVcpu vcpu, ShareKeeper? share)
    {
        (_machine, _gate, _vcpu) = (machine, gate, vcpu);
        if (share is not null) _lease = new VcpuLease(share, _wake, Kick);
    }

    public void Start()
    {
        _thread = new Thread(Loop) { IsBackground = true, Name = $"{_machine.Name}-vcpu{_vcpu.Index}" };
        try
        {
            _thread.Start();
        }
        catch
        {
            _thread = null;
            throw;
        }
    }

    /// <summary>Brings the vCPU out of Run or out of its wait for an interrupt, soon.</summary>
    public void Kick()
    {
        lock (_kicks)
        {
            if (_gone) return;
            _vcpu.Kick();
            _wake.Set();
        }
    }

    /// <summary>The backend has kicked the vCPU.</summary>
    public void Wake() => _wake.Set();

    public bool IsCurrentThread => _thread == Thread.CurrentThread;

    /// <summary>Waits until the thread is gone; kicks no more. After the gate was shut, and from another thread.</summary>
    public void Join()
    {
        _thread?.Join();

        // A kick may come from anybody at any time; none may reach a vCPU that is about to be freed.
        lock (_kicks) _gone = true;
        _lease?.Dispose();
        _wake.Dispose();
    }

    private void Loop()
    {
        _machine.Timeline.Mark(BootTimeline.FirstInstruction);
        while (Enter())
        {
            try
            {
                RunOnce();
            }
            catch (Exception e)
            {
                _machine.End(new MachineExit(MachineExitKind.Failed, Error: e));
            }
        }
    }

    private bool Enter()
    {
        if (_gate.IsOpen) return true;
        _lease?.Abandon();
        return _gate.Enter();
    }

    private void RunOnce()
    {
        if (_machine.Clock.IsCounted) _machine.Inlets.Drain();

        // A kick from before this line is still known to the backend and ends the run at once, so forgetting its wake-up loses nothing.
        _wake.Reset();
        if (_lease is not null && !_lease.Begin(_gate)) return;
        VcpuStop stop = default;
        var goesOn = false;
        try
        {
            stop = _vcpu.Run();
            goesOn = stop.Kind is VcpuStopKind.Kicked;
        }
        finally
        {
            _lease?.End(goesOn);
        }

        switch (stop.Kind)
        {
            case VcpuStopKind.Kicked:
                break;
            case VcpuStopKind.Halted:
                WaitForInterrupt();
                break;
            case VcpuStopKind.Shutdown:
                _machine.End(new MachineExit(MachineExitKind.TripleFault));
                break;
            case VcpuStopKind.PoweredOff:
                _machine.End(new MachineExit(MachineExitKind.PoweredOff));
                break;
            case VcpuStopKind.Reset:
                _machine.End(new MachineExit(MachineExitKind.Reset));
                break;
            case VcpuStopKind.Debug:
                _machine.OnDebugStop(_vcpu);
                break;
            case VcpuStopKind.Failed:
                throw new HypervisorException($"vCPU {_vcpu.Index} run", 0, stop.Reason ?? "the backend gave no reason");
            default:
                throw new InvalidOperationException($"vCPU {_vcpu.Index} stopped with the unknown kind {stop.Kind}.");
        }
    }

    private void WaitForInterrupt()
    {
        if (!_gate.IsOpen) return;
        if (_machine.Clock is { IsCounted: true, NextDeadline: not long.MaxValue } clock)
        {
            // Waiting takes no host time: the only thing that can wake this vCPU by itself is the next timer.
            clock.Advance(clock.NextDeadline);
            return;
        }

        _wake.Wait(long.MaxValue);
    }
}
