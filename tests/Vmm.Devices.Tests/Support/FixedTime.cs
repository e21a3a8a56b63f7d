namespace Vmm.Devices.Tests.Support;

/// <summary>A calendar that starts at a given moment; the clock itself is moved by hand.</summary>
internal sealed class FixedTime(DateTimeOffset start) : TimeProvider
{
    public override DateTimeOffset GetUtcNow() => start;
}
