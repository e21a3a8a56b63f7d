namespace Vmm.Core.Execution;

/// <summary>A number of host cores that several machines share by weight.</summary>
/// <param name="cores">How many vCPUs of the pool may run at once; 1 and up.</param>
public sealed class CpuPool(int cores)
{
    /// <summary>How many vCPUs of the pool may run at once.</summary>
    public int Cores { get; } = cores >= 1 ? cores : throw new ArgumentOutOfRangeException(nameof(cores), cores, "A pool has at least one core.");
}
