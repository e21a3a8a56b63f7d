using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Vmm.Core.Telemetry;

/// <summary>
/// A machine's measurements and spans, all under the name "Vmm". The counters are observed: reading them is all they cost, and the run
/// loop knows nothing of them. The meter is the machine's own and goes with it, so that no list of machines is needed.
/// </summary>
internal sealed class MachineTelemetry : IDisposable
{
    /// <summary>The name of meter and activity source.</summary>
    public const string Name = "Vmm";

    private static readonly ActivitySource Source = new(Name);

    private readonly Meter _meter;
    private readonly KeyValuePair<string, object?> _machine;
    private Activity? _boot;

    /// <summary>Begins to offer a machine's measurements.</summary>
    public MachineTelemetry(string machine, Func<MachineStatistics> statistics)
    {
        _machine = new("vmm.machine", machine);
        _meter = new Meter(new MeterOptions(Name));
        _meter.CreateObservableCounter("vmm.vcpu.exits", () => Exits(statistics()), "{exit}", "Exits of all vCPUs by kind.");
        _meter.CreateObservableCounter("vmm.vcpu.instructions", () => new Measurement<long>((long)statistics().InstructionsRetired, _machine), "{instruction}", "Guest instructions retired.");
        _meter.CreateObservableCounter("vmm.bus.unclaimed", () => Unclaimed(statistics()), "{access}", "Guest accesses that nothing claimed.");
    }

    /// <summary>Begins a span; null, at next to no cost, where nobody listens.</summary>
    public static Activity? Span(string name, string machine) => Source.StartActivity(name)?.SetTag("vmm.machine", machine);

    /// <summary>Begins the span vmm.boot, which lasts until <see cref="EndBoot"/>, whatever thread calls that.</summary>
    public void BeginBoot()
    {
        var current = Activity.Current;
        _boot = Span("vmm.boot", (string)_machine.Value!);
        Activity.Current = current;
    }

    /// <summary>Ends the span vmm.boot: the guest has reached its console, or its end.</summary>
    public void EndBoot(MachineExit? exit = null)
    {
        var boot = Interlocked.Exchange(ref _boot, null);
        if (boot is null) return;
        if (exit is not null) boot.SetTag("vmm.exit", exit.Kind.ToString());
        if (exit is { Kind: MachineExitKind.Failed }) boot.SetStatus(ActivityStatusCode.Error, exit.Error?.Message);
        boot.Dispose();
    }

    public void Dispose() => _meter.Dispose();

    private IEnumerable<Measurement<long>> Exits(MachineStatistics statistics)
    {
        foreach (var (kind, count) in statistics.Exits) yield return new Measurement<long>(count, _machine, new("vmm.exit.kind", kind));
    }

    private IEnumerable<Measurement<long>> Unclaimed(MachineStatistics statistics)
    {
        yield return new Measurement<long>(statistics.UnclaimedPorts, _machine, new("vmm.bus", "port"));
        yield return new Measurement<long>(statistics.UnclaimedMemory, _machine, new("vmm.bus", "memory"));
    }
}
