using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>An instruction encoding form of the CPU model and how it can be compared.</summary>
/// <param name="Code">Iced's name of the form.</param>
/// <param name="Comparability">Whether and how it is compared.</param>
/// <param name="Reason">Why it is not compared exactly; empty if it is.</param>
public readonly record struct CatalogueEntry(Code Code, Comparability Comparability, string Reason);
