using Vmm.Core.Boards;
using Vmm.Core.Errors;

namespace Vmm.Core.State;

/// <summary>
/// All units of a machine but its memory, by their names: the clock, each device, each vCPU. In that order they are also loaded: a
/// device that drives its interrupt line while it loads may reach an interrupt controller or a local APIC, whose own state comes after.
/// </summary>
internal static class MachineUnits
{
    /// <summary>Whether a name is kept for a unit that is no device.</summary>
    public static bool IsReserved(string name) =>
        name is "clock" or "memory" || (name.StartsWith("vcpu", StringComparison.Ordinal) && name.Length > 4 && name.AsSpan(4).IndexOfAnyExceptInRange('0', '9') < 0);

    /// <summary>The units of a machine at rest.</summary>
    public static IEnumerable<(string Name, IStateful Unit)> Of(MachineContext machine)
    {
        yield return ("clock", new ClockUnit(machine.Clock));
        foreach (var (name, device) in machine.Devices) yield return (name, device);
        foreach (var vcpu in machine.Partition.Vcpus) yield return ($"vcpu{vcpu.Index}", new VcpuUnit(vcpu));
    }

    /// <summary>Saves every unit of a machine at rest.</summary>
    public static List<(string Name, byte[] Body)> Save(MachineContext machine)
    {
        List<(string, byte[])> saved = [];
        foreach (var (name, unit) in Of(machine))
        {
            lock (unit) saved.Add((name, StateWriter.Save(unit)));
        }

        return saved;
    }

    /// <summary>Loads every unit into a machine at rest that is made alike.</summary>
    /// <exception cref="SnapshotException">The units are not the same, or one cannot be loaded.</exception>
    public static void Load(MachineContext machine, IReadOnlyList<(string Name, byte[] Body)> saved)
    {
        Dictionary<string, byte[]> bodies = [];
        foreach (var (name, body) in saved)
        {
            if (!bodies.TryAdd(name, body)) throw new SnapshotException($"unit '{name}'", "the unit is there twice");
        }

        var units = Of(machine).ToList();
        foreach (var (name, _) in units)
        {
            if (!bodies.ContainsKey(name)) throw new SnapshotException($"unit '{name}'", "the machine has it, the saved state does not; build the machine as the saved one was");
        }

        if (bodies.Count != units.Count)
        {
            var extra = bodies.Keys.Except(units.Select(u => u.Name)).First();
            throw new SnapshotException($"unit '{extra}'", "the saved state has it, the machine does not; build the machine as the saved one was");
        }

        foreach (var (_, device) in machine.Devices)
        {
            lock (device) device.Reset();
        }

        foreach (var (name, unit) in units)
        {
            lock (unit) StateReader.Load(name, bodies[name], unit);
        }
    }
}
