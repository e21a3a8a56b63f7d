using System.Collections.Immutable;

namespace Vmm.Core.Errors;

/// <summary>A machine cannot be built as asked. Carries every problem found, not just the first.</summary>
/// <param name="problems">One sentence a problem: what is wrong and what to change.</param>
public sealed class VmmConfigurationException(ImmutableArray<string> problems)
    : VmmException(problems.Length == 1 ? problems[0] : $"The machine has {problems.Length} problems:{string.Concat(problems.Select(p => $"\n  - {p}"))}")
{
    /// <summary>All problems.</summary>
    public ImmutableArray<string> Problems { get; } = problems;
}
