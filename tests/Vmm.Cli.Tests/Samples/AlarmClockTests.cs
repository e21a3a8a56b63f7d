using CustomDevice;
using Vmm.Core;
using Vmm.Core.Buses;
using Vmm.Core.State;
using Vmm.Core.Time;

namespace Vmm.Cli.Tests.Samples;

/// <summary>The tutorial's device (docs/writing-a-device.md): alone, then with its guest.</summary>
public sealed class AlarmClockTests : IInterruptSink, IDisposable
{
    private readonly VmClock _clock = new(TimeProvider.System, nanosecondsPerInstruction: 1);
    private readonly AlarmClock _alarm;
    private bool _asserted;

    public AlarmClockTests()
    {
        _alarm = new AlarmClock(_clock, new InterruptLine(this, 0));
        _alarm.Reset();
        _clock.Resume();
    }

    [Fact]
    public void Id_Read_IsTheSignature() => Assert.Equal(AlarmClock.Signature, Read(AlarmClock.Id));

    [Fact]
    public void Delay_Over_RingsOnceAndAsserts()
    {
        Write(AlarmClock.Delay, 5);
        _clock.Advance(4999);
        Assert.False(_asserted);
        _clock.Advance(5000);
        Assert.True(_asserted);
        Assert.Equal((AlarmClock.Rings, 1u), (Read(AlarmClock.Status), Read(AlarmClock.Count)));
        _clock.Advance(1_000_000);
        Assert.Equal(1u, Read(AlarmClock.Count));
    }

    [Fact]
    public void Status_Silenced_Releases()
    {
        Write(AlarmClock.Delay, 1);
        _clock.Advance(1000);
        Write(AlarmClock.Status, 0);
        Assert.True(_asserted);
        Write(AlarmClock.Status, AlarmClock.Rings);
        Assert.False(_asserted);
        Assert.Equal(0u, Read(AlarmClock.Status));
    }

    [Fact]
    public void Delay_Zero_TakesTheAlarmBack()
    {
        Write(AlarmClock.Delay, 1);
        Write(AlarmClock.Delay, 0);
        _clock.Advance(long.MaxValue / 2);
        Assert.Equal(0u, Read(AlarmClock.Count));
    }

    [Fact]
    public void Delay_Largest_DoesNotOverflow()
    {
        Write(AlarmClock.Delay, uint.MaxValue);
        Assert.Equal(uint.MaxValue * 1000L, _clock.NextDeadline);
    }

    [Fact]
    public void State_SavedAndLoaded_RingsAtTheSameTime()
    {
        Write(AlarmClock.Delay, 7);
        var saved = StateWriter.Save(_alarm);
        Write(AlarmClock.Delay, 0);
        StateReader.Load("alarm-clock", saved, _alarm);
        _clock.Advance(6999);
        Assert.False(_asserted);
        _clock.Advance(7000);
        Assert.True(_asserted);
    }

    [Fact]
    public async Task Guest_SetsAlarms_SleepsAndIsWoken()
    {
        var (output, exit, time) = await AlarmSample.RunAsync(times: 4, microseconds: 1000);
        Assert.Equal("!!!!", output);
        Assert.Equal(MachineExitKind.PoweredOff, exit.Kind);
        Assert.True(time >= 4_000_000, $"Four alarms of a millisecond took {time} ns of guest time.");
    }

    void IInterruptSink.SetInput(int input, bool level) => _asserted = level;

    public void Dispose() => _clock.Dispose();

    private uint Read(uint register) => (uint)_alarm.Read(register, 4);

    private void Write(uint register, uint value)
    {
        lock (_alarm) _alarm.Write(register, 4, value);
    }
}
