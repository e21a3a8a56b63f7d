namespace Vmm.Core.Errors;

/// <summary>The host's hypervisor refused or failed.</summary>
/// <param name="call">The native call, such as "KVM_CREATE_VM".</param>
/// <param name="code">errno or HRESULT.</param>
/// <param name="message">What happened.</param>
/// <param name="hint">What mends it, such as "add your user to group kvm"; null where nothing is known to.</param>
public sealed class HypervisorException(string call, int code, string message, string? hint = null)
    : VmmException($"{call} failed ({code}): {message}{(hint is null ? "" : $" To mend it: {hint}")}")
{
    /// <summary>The native call.</summary>
    public string Call { get; } = call;

    /// <summary>errno or HRESULT.</summary>
    public int Code { get; } = code;

    /// <summary>What mends it, or null.</summary>
    public string? Hint { get; } = hint;
}
