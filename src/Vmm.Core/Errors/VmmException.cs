namespace Vmm.Core.Errors;

/// <summary>The root of Vmm's own exceptions. A guest's mistakes never raise one.</summary>
/// <param name="message">What is wrong, where, and what mends it.</param>
/// <param name="inner">The cause, if another exception is.</param>
public abstract class VmmException(string message, Exception? inner = null) : Exception(message, inner);
