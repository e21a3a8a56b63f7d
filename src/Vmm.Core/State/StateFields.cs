using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Core.State;

/// <summary>Reads all fields of a unit out, for <see cref="StateDump"/> and <see cref="StateComparer"/>.</summary>
internal sealed class StateFields : StateVisitor
{
    private readonly List<StateField> _fields = [];
    private string _path = "", _tags = "";
    private int _depth;

    private StateFields()
    {
    }

    public override bool IsLoading => false;

    public static List<StateField> Of(IStateful unit)
    {
        ArgumentNullException.ThrowIfNull(unit);
        var visitor = new StateFields();
        unit.VisitState(visitor);
        return visitor._fields;
    }

    public override void List<T>(int tag, ref T[] list, int maximum, [CallerArgumentExpression(nameof(list))] string name = "") =>
        Add(tag, name, MemoryMarshal.AsBytes(list.AsSpan()).ToArray(), Unsafe.SizeOf<T>());

    public override void Part(int tag, IStateful part, [CallerArgumentExpression(nameof(part))] string name = "")
    {
        Add(tag, name, null, 1);
        var (path, tags) = (_path, _tags);
        (_path, _tags) = ($"{_path}{StateName.Clean(name)}.", $"{_tags}{tag}.");
        _depth++;
        part.VisitState(this);
        _depth--;
        (_path, _tags) = (path, tags);
    }

    protected override void Visit(int tag, string name, Span<byte> bytes, int elementSize) => Add(tag, name, bytes.ToArray(), elementSize);

    private void Add(int tag, string name, byte[]? value, int elementSize) =>
        _fields.Add(new StateField(_depth, _path + StateName.Clean(name), _tags + tag, value, elementSize));
}
