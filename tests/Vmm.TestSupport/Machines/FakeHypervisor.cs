using Vmm.Core.Backends;

namespace Vmm.TestSupport.Machines;

/// <summary>A backend without a CPU: each vCPU's <see cref="IVcpu.Run"/> is a delegate of the test's. It keeps the contract of kicks.</summary>
public sealed class FakeHypervisor(Func<FakeVcpu, VcpuStop> script) : IHypervisor
{
    public string Name => "fake";

    public HypervisorCapabilities Capabilities { get; init; } = HypervisorCapabilities.VirtualTime | HypervisorCapabilities.InstructionCount;

    /// <summary>Set to make the probe say no.</summary>
    public string? Missing { get; init; }

    /// <summary>Set to make <see cref="CreatePartition"/> throw.</summary>
    public Exception? Refusal { get; init; }

    /// <summary>The partitions made so far.</summary>
    public List<FakePartition> Partitions { get; } = [];

    /// <summary>A vCPU that computes until it is kicked, for ever.</summary>
    public static FakeHypervisor Busy() => new(static vcpu => vcpu.WaitForKick());

    /// <summary>A vCPU that halts at once, for ever.</summary>
    public static FakeHypervisor Halted() => new(static _ => new VcpuStop(VcpuStopKind.Halted));

    public HypervisorProbe Probe() => new(Name, Missing is null, Missing ?? "Scripted.", Missing is null ? null : "nothing", Capabilities);

    public IPartition CreatePartition(PartitionOptions options)
    {
        if (Refusal is not null) throw Refusal;
        var partition = new FakePartition(options, script, Capabilities);
        lock (Partitions) Partitions.Add(partition);
        return partition;
    }
}
