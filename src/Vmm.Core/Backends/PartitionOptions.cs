using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Core.Buses;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Core.Backends;

/// <summary>What a machine asks of a backend when it makes its partition.</summary>
public sealed record PartitionOptions
{
    /// <summary>The bus that exits are served by, with the memory behind it. The partition maps what the memory holds and follows its changes.</summary>
    public required SystemBus Bus { get; init; }

    /// <summary>The machine's clock, from which a backend that can takes TSC and timers.</summary>
    public required VmClock Clock { get; init; }

    /// <summary>The number of vCPUs, 1 to 255; all are made before the first runs.</summary>
    public int VcpuCount { get; init; } = 1;

    /// <summary>The CPU that the guest sees.</summary>
    public CpuModel CpuModel { get; init; } = CpuModel.X86_64_V3;

    /// <summary>Where the backend logs.</summary>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;

    /// <summary>
    /// Called with a vCPU's index at each <see cref="IVcpu.Kick"/>, after the kick was made to last, and also when the backend kicks a
    /// vCPU itself because an interrupt, NMI, INIT or start-up message has come for it while it is halted (its <see cref="IVcpu.Run"/>
    /// has returned <see cref="VcpuStopKind.Halted"/>). It wakes the thread that waits, at once. Any thread; does not block. May be null.
    /// </summary>
    public Action<int>? Kicked { get; init; }
}
