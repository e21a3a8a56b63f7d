namespace Vmm.Backends.Conformance.Differential;

/// <summary>One element of a random program: which kind of instruction, and numbers its operands are made from.</summary>
/// <param name="Kind">Chosen modulo the number of kinds.</param>
/// <param name="A">First operand.</param>
/// <param name="B">Second operand.</param>
/// <param name="Value">Immediate or displacement.</param>
public sealed record Gene(int Kind, int A, int B, int Value);
