using System.Text;

namespace Vmm.Core.State;

/// <summary>Shows a unit of state to people: a line a field, parts indented.</summary>
public static class StateDump
{
    /// <summary>Makes the text. Nothing may be changing the unit: the machine is at rest, or the caller holds the device's lock.</summary>
    /// <param name="unit">A device, a vCPU state, or any other.</param>
    /// <returns>Lines of "tag name = value", numbers in hexadecimal, runs of equal elements told once.</returns>
    public static string Text(IStateful unit)
    {
        var text = new StringBuilder();
        foreach (var field in StateFields.Of(unit))
        {
            text.Append(' ', field.Depth * 2).Append(field.Tags[(field.Tags.LastIndexOf('.') + 1)..]).Append(' ').Append(field.Name);
            if (field.Value is not null) text.Append(" = ").Append(field.Text());
            text.Append('\n');
        }

        return text.ToString();
    }
}
