using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Core.Errors;

namespace Vmm.Core.State;

/// <summary>
/// Loads a unit of state from what <see cref="StateWriter"/> saved. The bytes are not trusted: their whole structure is checked before
/// anything is changed, and each length before anything is allocated. A tag that the unit does not visit is skipped; a field whose tag
/// is not there keeps its value, which after a reset is the power-on one.
/// </summary>
public sealed class StateReader : StateVisitor
{
    private readonly string _unit;
    private readonly ReadOnlyMemory<byte> _saved;
    private Dictionary<int, StateRecord> _records;
    private string _path = "";

    private StateReader(string unit, ReadOnlyMemory<byte> saved)
    {
        if (!BitConverter.IsLittleEndian) throw new PlatformNotSupportedException("Saved state is little-endian, and this host is not.");
        (_unit, _saved) = (unit, saved);
        Check(0, saved.Length, 0);
        _records = Index(0, saved.Length);
    }

    /// <inheritdoc/>
    public override bool IsLoading => true;

    /// <summary>Loads a unit. Nothing else may be using it: the machine is at rest, or the caller holds the device's lock.</summary>
    /// <param name="unit">The unit's name, for messages.</param>
    /// <param name="saved">What was saved.</param>
    /// <param name="target">The unit, reset. After an exception some fields may be loaded and others not: reset it before using it.</param>
    /// <exception cref="SnapshotException">The bytes are not a saved unit, or a value is not one the unit can have.</exception>
    public static void Load(string unit, ReadOnlyMemory<byte> saved, IStateful target)
    {
        ArgumentNullException.ThrowIfNull(target);
        var reader = new StateReader(unit, saved);
        reader.LoadPart(target);
    }

    /// <inheritdoc/>
    public override void List<T>(int tag, ref T[] list, int maximum, [CallerArgumentExpression(nameof(list))] string name = "")
    {
        if (!TryFind(tag, name, StateRecordKind.List, out var record)) return;
        var size = Unsafe.SizeOf<T>();
        if (record.Length % size != 0) throw Fault(tag, name, $"{record.Length} bytes are not a whole number of elements of {size}");
        var count = record.Length / size;
        if (count > maximum) throw Fault(tag, name, $"{count} elements where at most {maximum} are allowed");
        var loaded = new T[count];
        Body(record).CopyTo(MemoryMarshal.AsBytes(loaded.AsSpan()));
        list = loaded;
    }

    /// <inheritdoc/>
    public override void Part(int tag, IStateful part, [CallerArgumentExpression(nameof(part))] string name = "")
    {
        if (!TryFind(tag, name, StateRecordKind.Part, out var record)) return;
        var (records, path) = (_records, _path);
        _records = Index(record.Start, record.Start + record.Length);
        _path = $"{_path}{StateName.Clean(name)}.";
        LoadPart(part);
        (_records, _path) = (records, path);
    }

    /// <inheritdoc/>
    protected override void Visit(int tag, string name, Span<byte> bytes, int elementSize)
    {
        if (!TryFind(tag, name, StateRecordKind.Value, out var record)) return;
        if (record.Length != bytes.Length) throw Fault(tag, name, $"{record.Length} bytes where there should be {bytes.Length}");
        Body(record).CopyTo(bytes);
    }

    private void LoadPart(IStateful target)
    {
        target.VisitState(this);
        try
        {
            target.OnStateLoaded();
        }
        catch (Exception e) when (e is not SnapshotException)
        {
            throw new SnapshotException($"unit '{_unit}' {_path.TrimEnd('.')}".TrimEnd(), $"the loaded values do not fit together: {e.Message}", e);
        }
    }

    private ReadOnlySpan<byte> Body(StateRecord record) => _saved.Span.Slice(record.Start, record.Length);

    private bool TryFind(int tag, string name, StateRecordKind kind, out StateRecord record)
    {
        if (!_records.TryGetValue(tag, out record)) return false;
        return record.Kind == kind ? true : throw Fault(tag, name, $"a {record.Kind} where there should be a {kind}");
    }

    // The recursion is bounded by the depth that is checked here.
    private void Check(int start, int end, int depth)
    {
        if (depth > StateRecord.MaximumDepth) throw new SnapshotException($"unit '{_unit}' offset {start}", $"parts are nested more than {StateRecord.MaximumDepth} deep");
        var span = _saved.Span;
        for (var offset = start; offset < end;)
        {
            if (!StateRecord.TryRead(span, offset, end, out var record)) throw new SnapshotException($"unit '{_unit}' offset {offset}", "there is no whole record");
            if (record.Kind == StateRecordKind.Part) Check(record.Start, record.Start + record.Length, depth + 1);
            offset = record.Start + record.Length;
        }
    }

    private Dictionary<int, StateRecord> Index(int start, int end)
    {
        var span = _saved.Span;
        Dictionary<int, StateRecord> records = [];
        for (var offset = start; offset < end;)
        {
            StateRecord.TryRead(span, offset, end, out var record);
            if (!records.TryAdd(record.Tag, record)) throw new SnapshotException($"unit '{_unit}' tag {_path}{record.Tag}", "the tag is there twice");
            offset = record.Start + record.Length;
        }

        return records;
    }

    private SnapshotException Fault(int tag, string name, string reason) => new($"unit '{_unit}' tag {tag} ({_path}{StateName.Clean(name)})", reason);
}
