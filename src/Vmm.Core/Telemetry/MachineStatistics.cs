using System.Collections.Immutable;
using Vmm.Core.Backends;
using Vmm.Core.Buses;

namespace Vmm.Core.Telemetry;

/// <summary>Counts since the machine was built, all vCPUs together, as of the moment they were read.</summary>
public sealed record MachineStatistics
{
    /// <summary>Guest instructions retired; zero where the backend does not count them.</summary>
    public ulong InstructionsRetired { get; init; }

    /// <summary>Exits by kind, in a fixed order: what <see cref="VcpuCounters"/> has, under names such as "port-read".</summary>
    public ImmutableArray<(string Kind, long Count)> Exits { get; init; } = [];

    /// <summary>Port accesses that no device claimed.</summary>
    public long UnclaimedPorts { get; init; }

    /// <summary>Memory accesses that neither memory nor a device claimed.</summary>
    public long UnclaimedMemory { get; init; }

    internal static MachineStatistics Of(SystemBus bus, IReadOnlyList<IVcpu> vcpus)
    {
        ulong instructions = 0;
        long portReads = 0, portWrites = 0, mmioReads = 0, mmioWrites = 0, halts = 0, interrupts = 0, exceptions = 0, kicks = 0, unknownMsrs = 0;
        foreach (var vcpu in vcpus)
        {
            var counters = vcpu.Counters;
            instructions += vcpu.InstructionsRetired;
            portReads += Volatile.Read(ref counters.PortReads);
            portWrites += Volatile.Read(ref counters.PortWrites);
            mmioReads += Volatile.Read(ref counters.MmioReads);
            mmioWrites += Volatile.Read(ref counters.MmioWrites);
            halts += Volatile.Read(ref counters.Halts);
            interrupts += Volatile.Read(ref counters.Interrupts);
            exceptions += Volatile.Read(ref counters.Exceptions);
            kicks += Volatile.Read(ref counters.Kicks);
            unknownMsrs += Volatile.Read(ref counters.UnknownMsrs);
        }

        return new MachineStatistics
        {
            InstructionsRetired = instructions,
            Exits =
            [
                ("port-read", portReads), ("port-write", portWrites), ("mmio-read", mmioReads), ("mmio-write", mmioWrites), ("halt", halts),
                ("interrupt", interrupts), ("exception", exceptions), ("kick", kicks), ("unknown-msr", unknownMsrs),
            ],
            UnclaimedPorts = bus.Ports.Unclaimed,
            UnclaimedMemory = bus.Mmio.Unclaimed,
        };
    }
}
