using System.Runtime.InteropServices;
using Vmm.Core.State;

namespace Vmm.Devices.Tests.Support;

/// <summary>Saves a unit's fields into a dictionary by tag path, or loads them from one.</summary>
internal sealed class FieldStore : StateVisitor
{
    private readonly Dictionary<string, byte[]> _fields;
    private readonly HashSet<string> _seen = [];
    private readonly bool _loading;
    private string _path = "";

    private FieldStore(Dictionary<string, byte[]> fields, bool loading) => (_fields, _loading) = (fields, loading);

    public override bool IsLoading => _loading;

    public static Dictionary<string, byte[]> Save(IStateful unit)
    {
        var store = new FieldStore([], loading: false);
        unit.VisitState(store);
        return store._fields;
    }

    public static void Load(IStateful unit, Dictionary<string, byte[]> fields)
    {
        unit.VisitState(new FieldStore(fields, loading: true));
        unit.OnStateLoaded();
    }

    public override void List<T>(int tag, ref T[] list, int maximum, string name = "")
    {
        var key = Key(tag);
        if (_loading) list = MemoryMarshal.Cast<byte, T>(_fields[key]).ToArray();
        else _fields[key] = MemoryMarshal.AsBytes(list.AsSpan()).ToArray();
    }

    public override void Part(int tag, IStateful part, string name = "")
    {
        var outer = _path;
        _path = Key(tag) + ".";
        part.VisitState(this);
        if (_loading) part.OnStateLoaded();
        _path = outer;
    }

    protected override void Visit(int tag, string name, Span<byte> bytes, int elementSize)
    {
        var key = Key(tag);
        if (_loading) _fields[key].CopyTo(bytes);
        else _fields[key] = bytes.ToArray();
    }

    private string Key(int tag)
    {
        var key = _path + tag;
        Assert.True(_seen.Add(key), $"Tag {key} is used twice.");
        return key;
    }
}
