using Vmm.Core.Backends;
using Vmm.Core.X86;

namespace Vmm.Core.State;

/// <summary>A vCPU as a unit of state.</summary>
/// <param name="vcpu">A vCPU that does not run.</param>
internal sealed class VcpuUnit(IVcpu vcpu) : IStateful
{
    private readonly VcpuState _state = new();

    public void VisitState(StateVisitor visitor)
    {
        if (visitor.IsLoading) _state.SetPowerOn();
        else vcpu.GetState(_state);
        _state.VisitState(visitor);
    }

    public void OnStateLoaded()
    {
        ((IStateful)_state).OnStateLoaded();
        vcpu.SetState(_state);
    }
}
