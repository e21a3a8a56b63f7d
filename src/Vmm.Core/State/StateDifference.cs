namespace Vmm.Core.State;

/// <summary>One field in which two units differ.</summary>
/// <param name="Field">Names of the parts it is in and its own, with dots; of an array, the index of the first element that differs.</param>
/// <param name="First">Its value in the first unit, hexadecimal; "absent" where that one does not have it.</param>
/// <param name="Second">Its value in the second unit.</param>
public sealed record StateDifference(string Field, string First, string Second)
{
    /// <summary>"field: first, second".</summary>
    public override string ToString() => $"{Field}: {First}, {Second}";
}
