using Vmm.Core.Backends;
using Vmm.Core.Errors;
using Vmm.Core.Time;

namespace Vmm.Core.Execution;

/// <summary>
/// The one outer loop: runs a vCPU on a thread of its own and decides what follows each stop. A halted vCPU waits on a signal
/// that every kick sets; the backend kicks a halted vCPU itself when an interrupt comes for it.
/// </summary>
internal sealed class VcpuRunner(VirtualMachine machine, VcpuGate gate, IVcpu vcpu)
{
    private readonly AlarmSignal _wake = AlarmSignal.Create();
    private readonly Lock _kicks = new();
    private Thread? _thread;
    private bool _gone;

    public void Start()
    {
        _thread = new Thread(Loop) { IsBackground = true, Name = $"{machine.Name}-vcpu{vcpu.Index}" };
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
            vcpu.Kick();
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
        _wake.Dispose();
    }

    private void Loop()
    {
        while (gate.Enter())
        {
            try
            {
                RunOnce();
            }
            catch (Exception e)
            {
                machine.End(new MachineExit(MachineExitKind.Failed, Error: e));
            }
        }
    }

    private void RunOnce()
    {
        if (machine.Clock.IsCounted) machine.Inlets.Drain();

        // A kick from before this line is still known to the backend and ends the run at once, so forgetting its wake-up loses nothing.
        _wake.Reset();
        var stop = vcpu.Run();
        switch (stop.Kind)
        {
            case VcpuStopKind.Kicked:
                break;
            case VcpuStopKind.Halted:
                WaitForInterrupt();
                break;
            case VcpuStopKind.Shutdown:
                machine.End(new MachineExit(MachineExitKind.TripleFault));
                break;
            case VcpuStopKind.Debug:
                machine.OnDebugStop(vcpu);
                break;
            case VcpuStopKind.Failed:
                throw new HypervisorException($"vCPU {vcpu.Index} run", 0, stop.Reason ?? "the backend gave no reason");
            default:
                throw new InvalidOperationException($"vCPU {vcpu.Index} stopped with the unknown kind {stop.Kind}.");
        }
    }

    private void WaitForInterrupt()
    {
        if (!gate.IsOpen) return;
        if (machine.Clock is { IsCounted: true, NextDeadline: not long.MaxValue } clock)
        {
            // Waiting takes no host time: the only thing that can wake this vCPU by itself is the next timer.
            clock.Advance(clock.NextDeadline);
            return;
        }

        _wake.Wait(long.MaxValue);
    }
}
