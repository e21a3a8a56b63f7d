using Vmm.Core.Backends;

namespace Vmm.Core.Execution;

/// <summary>The one outer loop: runs a vCPU on a thread of its own and decides what follows each stop.</summary>
internal sealed class VcpuRunner(VirtualMachine machine, IVcpu vcpu)
{
    private readonly AutoResetEvent _wake = new(false);
    private volatile bool _stopping;
    private Thread? _thread;

    public void Start()
    {
        _thread = new Thread(Loop) { IsBackground = true, Name = $"{machine.Name}-vcpu{vcpu.Index}" };
        _thread.Start();
    }

    public void Stop()
    {
        _stopping = true;
        vcpu.Kick();
        _wake.Set();
    }

    public void Join()
    {
        if (_thread != Thread.CurrentThread) _thread?.Join();
    }

    private void Loop()
    {
        try
        {
            while (!_stopping)
            {
                var stop = vcpu.Run();
                switch (stop.Kind)
                {
                    case VcpuStopKind.Halted: Thread.Sleep(1); break;
                    case VcpuStopKind.Shutdown: machine.End(new MachineExit(MachineExitKind.TripleFault)); break;
                    case VcpuStopKind.Failed: machine.End(new MachineExit(MachineExitKind.Failed, Error: new InvalidOperationException(stop.Reason))); break;
                }
            }
        }
        catch (Exception e)
        {
            machine.End(new MachineExit(MachineExitKind.Failed, Error: e));
        }
    }
}
