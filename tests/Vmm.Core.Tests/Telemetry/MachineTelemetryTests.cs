using System.Diagnostics;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using Vmm.Core.Backends;
using Vmm.Core.Telemetry;
using Vmm.TestSupport.Machines;

namespace Vmm.Core.Tests.Telemetry;

public class MachineTelemetryTests
{
    private const int Limit = 20_000;

    [Fact(Timeout = Limit)]
    public async Task Statistics_SumVcpusAndOutliveTheMachine()
    {
        var vm = TestMachine.Builder(v =>
        {
            v.InstructionsRetired = 100;
            v.Counters.PortWrites = 3;
            v.Counters.Halts = 1;
            v.Bus.Ports.Read(0x80, 1);
            v.Bus.Mmio.Write(0xF000_0000, 4, 0);
            return new VcpuStop(VcpuStopKind.Shutdown);
        }).WithVcpus(1).Build();
        await vm.StartAsync();
        await vm.Completion;
        Check(vm.Statistics);
        vm.Dispose();
        Check(vm.Statistics);

        static void Check(MachineStatistics statistics)
        {
            Assert.Equal(100UL, statistics.InstructionsRetired);
            Assert.Equal(1, statistics.UnclaimedPorts);
            Assert.Equal(1, statistics.UnclaimedMemory);
            Assert.Contains(("port-write", 3L), statistics.Exits);
            Assert.Contains(("halt", 1L), statistics.Exits);
            Assert.Contains(("kick", 0L), statistics.Exits);
            Assert.Equal(9, statistics.Exits.Length);
        }
    }

    [Fact(Timeout = Limit)]
    public async Task Timeline_HasTheStepsInOrder()
    {
        var time = new FakeTimeProvider();
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy()).WithTimeProvider(time).Build();
        Assert.Equal(0, vm.Timeline[BootTimeline.Loaded]);
        time.Advance(TimeSpan.FromMilliseconds(3));
        await vm.StartAsync();
        await TestMachine.UntilAsync(() => vm.Timeline[BootTimeline.FirstInstruction] is not null);
        time.Advance(TimeSpan.FromTicks(5));
        vm.Context.Timeline.MarkConsoleByte();
        vm.Context.Timeline.MarkConsoleByte();
        Assert.True(vm.Timeline.Mark("login"));
        Assert.False(vm.Timeline.Mark("login"));
        await vm.KillAsync();
        Assert.Equal([BootTimeline.Loaded, BootTimeline.Started, BootTimeline.FirstInstruction, BootTimeline.FirstConsoleByte, "login", BootTimeline.Ended], vm.Timeline.Marks.Select(m => m.Name));
        Assert.Equal(3_000_000, vm.Timeline[BootTimeline.Started]);
        Assert.Equal(3_000_500, vm.Timeline[BootTimeline.FirstConsoleByte]);
        Assert.Null(vm.Timeline["never"]);
    }

    [Fact(Timeout = Limit)]
    public async Task Meter_CountsExitsByKind()
    {
        var seen = new Dictionary<(string, string?), long>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (i, l) => { if (i.Meter.Name == "Vmm") l.EnableMeasurementEvents(i); };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
        {
            string? machine = null, kind = null;
            foreach (var (key, tag) in tags)
            {
                if (key == "vmm.machine") machine = (string?)tag;
                else kind = (string?)tag;
            }

            if (machine == "metered") seen[(instrument.Name, kind)] = value;
        });
        listener.Start();
        var vm = TestMachine.Builder(v =>
        {
            v.InstructionsRetired = 7;
            v.Counters.MmioReads = 2;
            return new VcpuStop(VcpuStopKind.Shutdown);
        }).WithName("metered").Build();
        await vm.StartAsync();
        await vm.Completion;
        listener.RecordObservableInstruments();
        Assert.Equal(7, seen[("vmm.vcpu.instructions", null)]);
        Assert.Equal(2, seen[("vmm.vcpu.exits", "mmio-read")]);
        Assert.Equal(0, seen[("vmm.bus.unclaimed", "port")]);
        vm.Dispose();
        seen.Clear();
        listener.RecordObservableInstruments();
        Assert.Empty(seen);
    }

    [Fact(Timeout = Limit)]
    public async Task Spans_CoverBuildBootPauseAndStop()
    {
        var ended = new List<(string Name, object? Exit)>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = s => s.Name == "Vmm",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = a => { if ((string?)a.GetTagItem("vmm.machine") == "spanned") lock (ended) ended.Add((a.OperationName, a.GetTagItem("vmm.exit"))); },
        };
        ActivitySource.AddActivityListener(listener);
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy()).WithName("spanned").Build();
        await vm.StartAsync();
        Assert.Null(Activity.Current);
        await vm.PauseAsync();
        await vm.StopAsync(TimeSpan.Zero);
        Assert.Equal([("vmm.build", null), ("vmm.pause", null), ("vmm.boot", "Killed"), ("vmm.stop", null)], ended);
    }

    [Fact(Timeout = Limit)]
    public async Task Log_TellsStartEndAndFailure()
    {
        var log = new Collector();
        await using (var vm = TestMachine.Builder(static _ => new VcpuStop(VcpuStopKind.Failed, "broken")).WithLogging(log).Build())
        {
            await vm.StartAsync();
            await vm.Completion;
        }

        Assert.Equal([1001, 1002, 1006], log.Events);
    }

    private sealed class Collector : ILoggerFactory, ILogger
    {
        public List<int> Events { get; } = [];

        public void AddProvider(ILoggerProvider provider) { }

        public ILogger CreateLogger(string categoryName) => this;

        public void Dispose() { }

        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (Events) Events.Add(eventId.Id);
        }
    }
}
