using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Core.State;

/// <summary>Saves a unit of state: the tagged fields it visits, as bytes that <see cref="StateReader"/> takes back.</summary>
public sealed class StateWriter : StateVisitor
{
    private readonly ArrayBufferWriter<byte> _output = new();
    private readonly HashSet<int> _tags = [];
    private int _depth;

    private StateWriter()
    {
        if (!BitConverter.IsLittleEndian) throw new PlatformNotSupportedException("Saved state is little-endian, and this host is not.");
    }

    /// <inheritdoc/>
    public override bool IsLoading => false;

    /// <summary>Saves a unit. Nothing may be changing it: the machine is at rest, or the caller holds the device's lock.</summary>
    /// <param name="unit">A device, a vCPU state, or any other.</param>
    /// <returns>The saved form.</returns>
    /// <exception cref="InvalidOperationException">The unit uses a tag twice: a mistake in its code.</exception>
    public static byte[] Save(IStateful unit)
    {
        ArgumentNullException.ThrowIfNull(unit);
        var writer = new StateWriter();
        unit.VisitState(writer);
        return writer._output.WrittenSpan.ToArray();
    }

    /// <inheritdoc/>
    public override void List<T>(int tag, ref T[] list, int maximum, [CallerArgumentExpression(nameof(list))] string name = "")
    {
        if (list.Length > maximum) throw new InvalidOperationException($"The list {name} (tag {tag}) has {list.Length} elements; it could not be loaded again with more than {maximum}.");
        Append(tag, name, StateRecordKind.List, MemoryMarshal.AsBytes(list.AsSpan()));
    }

    /// <inheritdoc/>
    public override void Part(int tag, IStateful part, [CallerArgumentExpression(nameof(part))] string name = "")
    {
        if (++_depth > StateRecord.MaximumDepth) throw new InvalidOperationException($"The part {name} (tag {tag}) is nested more than {StateRecord.MaximumDepth} deep.");
        var nested = new StateWriter { _depth = _depth };
        part.VisitState(nested);
        _depth--;
        Append(tag, name, StateRecordKind.Part, nested._output.WrittenSpan);
    }

    /// <inheritdoc/>
    protected override void Visit(int tag, string name, Span<byte> bytes, int elementSize) => Append(tag, name, StateRecordKind.Value, bytes);

    private void Append(int tag, string name, StateRecordKind kind, ReadOnlySpan<byte> body)
    {
        if (tag < 0 || !_tags.Add(tag)) throw new InvalidOperationException($"The tag {tag} of {name} is negative or used twice; give each field a tag of its own.");
        StateRecord.Write(_output.GetSpan(StateRecord.HeaderSize), tag, kind, body.Length);
        _output.Advance(StateRecord.HeaderSize);
        _output.Write(body);
    }
}
