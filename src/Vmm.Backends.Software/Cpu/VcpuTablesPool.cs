namespace Vmm.Backends.Software.Cpu;

/// <summary>A few tables that no processor has, for processors to come. Any thread.</summary>
internal sealed class VcpuTablesPool
{
    /// <summary>The most that are kept.</summary>
    public const int Size = 8;

    private readonly VcpuTables?[] _kept = new VcpuTables?[Size];

    /// <summary>Takes some out; null if there are none.</summary>
    public VcpuTables? Take()
    {
        foreach (ref var place in _kept.AsSpan())
        {
            if (place is not null && Interlocked.Exchange(ref place, null) is { } tables) return tables;
        }

        return null;
    }

    /// <summary>Keeps tables that are like new, if there is room.</summary>
    public bool TryKeep(VcpuTables tables)
    {
        foreach (ref var place in _kept.AsSpan())
        {
            if (place is null && Interlocked.CompareExchange(ref place, tables, null) is null) return true;
        }

        return false;
    }
}
