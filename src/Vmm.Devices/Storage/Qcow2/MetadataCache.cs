namespace Vmm.Devices.Storage.Qcow2;

/// <summary>Tables of one kind in memory, by their place in the file. Members are called under the lock of the store.</summary>
internal sealed class MetadataCache(int capacity)
{
    private readonly Dictionary<long, MetadataTable> _tables = [];
    private long _uses;

    /// <summary>Whether so much waits to be written that it should be.</summary>
    public bool IsCrowded => _tables.Count >= capacity && _tables.Values.Count(t => t.IsDirty) > capacity / 2;

    public bool HasDirty => _tables.Values.Any(t => t.IsDirty);

    public MetadataTable? Find(long offset)
    {
        if (!_tables.TryGetValue(offset, out var table)) return null;
        table.LastUse = ++_uses;
        return table;
    }

    /// <summary>Puts a table in, unless one of the same place is there, which is newer; drops the clean one that was used least lately.</summary>
    public MetadataTable Add(MetadataTable table)
    {
        if (Find(table.Offset) is { } present) return present;
        while (_tables.Count >= capacity && _tables.Values.Where(t => !t.IsDirty && !t.IsWriting).MinBy(t => t.LastUse) is { } oldest) _tables.Remove(oldest.Offset);
        table.LastUse = ++_uses;
        _tables.Add(table.Offset, table);
        return table;
    }

    public void Remove(long offset) => _tables.Remove(offset);

    public List<MetadataTable.PendingWrite> TakeDirty() => [.. _tables.Values.Where(t => t.IsDirty).Select(t => t.TakeDirty())];
}
