using System.Collections.Immutable;

namespace Vmm.Core.State;

/// <summary>Tells in which fields two units of state differ.</summary>
public static class StateComparer
{
    /// <summary>Compares. Nothing may be changing either unit: their machines are at rest, or the caller holds the devices' locks.</summary>
    /// <param name="first">A unit.</param>
    /// <param name="second">Another of its kind.</param>
    /// <returns>The differences in the order of the fields; empty when there are none.</returns>
    public static ImmutableArray<StateDifference> Compare(IStateful first, IStateful second)
    {
        var differences = ImmutableArray.CreateBuilder<StateDifference>();
        var others = StateFields.Of(second).ToDictionary(f => f.Tags);
        foreach (var field in StateFields.Of(first))
        {
            others.Remove(field.Tags, out var other);
            Compare(field, other, differences);
        }

        foreach (var field in others.Values)
        {
            if (field.Value is not null) differences.Add(new StateDifference(field.Path, "absent", field.Text()));
        }

        return differences.ToImmutable();
    }

    private static void Compare(StateField field, StateField? other, ImmutableArray<StateDifference>.Builder differences)
    {
        if (field.Value is null) return;
        if (other?.Value is null)
        {
            differences.Add(new StateDifference(field.Path, field.Text(), "absent"));
        }
        else if (field.Value.Length != other.Value.Length || field.ElementSize != other.ElementSize)
        {
            differences.Add(new StateDifference(field.Path, field.Text(), other.Text()));
        }
        else if (field.Value.AsSpan().CommonPrefixLength(other.Value) is var same && same < field.Value.Length)
        {
            var index = same / field.ElementSize;
            differences.Add(new StateDifference(field.Count == 1 ? field.Path : $"{field.Path}[{index}]", field.Element(index), other.Element(index)));
        }
    }
}
