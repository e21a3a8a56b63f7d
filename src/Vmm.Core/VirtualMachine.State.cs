using Vmm.Core.State;

namespace Vmm.Core;

public sealed partial class VirtualMachine
{
    /// <summary>Saves clock, devices and vCPUs, each under its name; memory is not among them. Only at rest: not started, paused or ended.</summary>
    internal List<(string Name, byte[] Body)> SaveUnits() => AtRest("saved", () => MachineUnits.Save(Context));

    /// <summary>Loads what <see cref="SaveUnits"/> made, into a machine built alike. Only at rest.</summary>
    internal void LoadUnits(IReadOnlyList<(string Name, byte[] Body)> units) => AtRest("loaded", () =>
    {
        MachineUnits.Load(Context, units);
        return 0;
    });

    private T AtRest<T>(string verb, Func<T> action)
    {
        // Holding the operations' turn keeps a resume or start from beginning in the middle.
        _operations.Wait();
        try
        {
            lock (_sync)
            {
                if (_state is MachineState.Running or MachineState.Disposed || (_state == MachineState.Ended && !_completion.Task.IsCompleted)) throw WrongState(verb, "Pause it first.");
            }

            return action();
        }
        finally
        {
            _operations.Release();
        }
    }
}
