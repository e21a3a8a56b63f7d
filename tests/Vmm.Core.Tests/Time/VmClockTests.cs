using System.Diagnostics;
using Microsoft.Extensions.Time.Testing;
using Vmm.Core.Time;
using Vmm.TestSupport.Machines;

namespace Vmm.Core.Tests.Time;

public class VmClockTests
{
    private const int Limit = 20_000;
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2030, 1, 1, 0, 0, 0, TimeSpan.Zero));

    [Fact]
    public void Now_New_IsZeroAndStands()
    {
        using var clock = new VmClock(_time);
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(0, clock.Now);
        Assert.Equal(long.MaxValue, clock.NextDeadline);
    }

    [Fact]
    public void Now_Running_FollowsTheProvider()
    {
        using var clock = new VmClock(_time);
        clock.Resume();
        _time.Advance(TimeSpan.FromTicks(12_345));
        Assert.Equal(1_234_500, clock.Now);
        clock.Pause();
        _time.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(1_234_500, clock.Now);
        clock.Resume();
        _time.Advance(TimeSpan.FromTicks(1));
        Assert.Equal(1_234_600, clock.Now);
        Assert.Equal(_time.Start.AddTicks(12_346), clock.UtcNow);
    }

    [Fact]
    public void SetTo_Standing_MovesAndGoesOnFromThere()
    {
        using var clock = new VmClock(_time);
        clock.SetTo(5_000_000);
        clock.Resume();
        Assert.Throws<InvalidOperationException>(() => clock.SetTo(0));
        _time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.Equal(6_000_000, clock.Now);
    }

    [Fact(Timeout = Limit)]
    public async Task Timer_FakeTime_FiresWhenItsTimeComes()
    {
        using var clock = new VmClock(_time);
        var fired = new List<long>();
        var gate = new object();
        VmTimer timer = null!;
        timer = clock.CreateTimer(gate, () =>
        {
            Assert.True(Monitor.IsEntered(gate));
            fired.Add(timer.Deadline);
            if (fired.Count < 3) timer.Arm(10_000_000L * (fired.Count + 1));
        });
        lock (gate) timer.Arm(10_000_000);
        clock.Resume();
        for (var i = 1; i <= 3; i++)
        {
            // The worker asks the provider for its wait some time after the last fire; step until it has.
            _time.Advance(TimeSpan.FromMilliseconds(10));
            await TestMachine.UntilAsync(() => { lock (gate) return fired.Count >= i; });
            Assert.Equal(i, fired.Count);
        }

        Assert.All(fired, d => Assert.Equal(long.MaxValue, d));
        Assert.Equal(long.MaxValue, clock.NextDeadline);
    }

    [Fact(Timeout = Limit)]
    public async Task Timer_Paused_WaitsForResume()
    {
        using var clock = new VmClock(_time);
        var fired = 0;
        var timer = clock.CreateTimer(new object(), () => Interlocked.Increment(ref fired));
        clock.Resume();
        timer.Arm(1_000_000);
        clock.Pause();
        _time.Advance(TimeSpan.FromSeconds(1));
        await Task.Delay(5);
        Assert.Equal(0, fired);
        clock.Resume();
        _time.Advance(TimeSpan.FromMilliseconds(1));
        await TestMachine.UntilAsync(() => Volatile.Read(ref fired) == 1);
    }

    [Fact(Timeout = Limit)]
    public async Task Timer_SystemTime_NeverFiresEarly()
    {
        using var clock = new VmClock(TimeProvider.System);
        clock.Resume();
        var done = new SemaphoreSlim(0);
        long at = 0;
        var timer = clock.CreateTimer(new object(), () =>
        {
            at = clock.Now;
            done.Release();
        });
        foreach (var wait in new long[] { 1, 1_000, 50_000, 300_000, 1_500_000, 4_000_000 })
        {
            var deadline = clock.Now + wait;
            timer.Arm(deadline);
            await done.WaitAsync();
            Assert.True(at >= deadline);
        }
    }

    [Fact(Timeout = Limit)]
    public async Task Timer_DisarmedUnderTheLock_NeverFires()
    {
        using var clock = new VmClock(TimeProvider.System);
        clock.Resume();
        var gate = new object();
        var armed = false;
        var wrong = 0;
        var fired = 0;
        var timer = clock.CreateTimer(gate, () =>
        {
            if (!armed) wrong++;
            armed = false;
            fired++;
        });
        for (var i = 0; i < 5_000; i++)
        {
            lock (gate)
            {
                armed = true;
                timer.Arm(clock.Now + i % 50 * 100);
            }

            if (i % 3 == 0) await Task.Yield();
            lock (gate)
            {
                armed = false;
                timer.Disarm();
            }
        }

        lock (gate) Assert.Equal(0, wrong);
    }

    [Fact]
    public void Counted_Advance_FiresInOrderOfDeadlines()
    {
        using var clock = new VmClock(_time, 1);
        clock.Resume();
        var order = new List<int>();
        var gate = new object();
        int[] deadlines = [30, 10, 20, 10, 40];
        for (var i = 0; i < deadlines.Length; i++)
        {
            var n = i;
            clock.CreateTimer(gate, () => order.Add(n)).Arm(deadlines[i]);
        }

        Assert.Equal(10, clock.NextDeadline);
        clock.Advance(9);
        Assert.Empty(order);
        clock.Advance(30);
        Assert.Equal([1, 3, 2, 0], order);
        Assert.Equal(40, clock.NextDeadline);
        clock.Advance(5);
        Assert.Equal(30, clock.Now);
    }

    [Fact]
    public void Counted_CallbackRearms_FiresAgainInTheSameAdvance()
    {
        using var clock = new VmClock(_time, 1);
        clock.Resume();
        var ticks = 0;
        VmTimer timer = null!;
        timer = clock.CreateTimer(new object(), () => timer.Arm(++ticks * 10 + 10));
        timer.Arm(10);
        clock.Advance(100);
        Assert.Equal(10, ticks);
        Assert.Equal(110, clock.NextDeadline);
    }

    [Fact]
    public void ArmAndFire_Counted_AllocatesNothing()
    {
        using var clock = new VmClock(_time, 1);
        clock.Resume();
        var timers = Enumerable.Range(0, 6).Select(_ => clock.CreateTimer(new object(), () => { })).ToArray();
        long now = 0;
        Turn();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 10_000; i++) Turn();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());

        void Turn()
        {
            for (var i = 0; i < timers.Length; i++) timers[i].Arm(now + 10 + i);
            timers[0].Disarm();
            now += 20;
            clock.Advance(now);
        }
    }

    [Fact(Timeout = Limit)]
    public async Task Dispose_FromACallback_Returns()
    {
        var clock = new VmClock(TimeProvider.System);
        var done = new TaskCompletionSource();
        clock.CreateTimer(new object(), () =>
        {
            clock.Dispose();
            done.SetResult();
        }).Arm(1);
        clock.Resume();
        await done.Task;
        clock.Dispose();
    }

    [Fact]
    public void Dispose_Armed_FiresNoMore()
    {
        var fired = 0;
        var clock = new VmClock(TimeProvider.System);
        clock.Resume();
        var timer = clock.CreateTimer(new object(), () => Interlocked.Increment(ref fired));
        timer.Arm(long.MaxValue - 1);
        clock.Dispose();
        timer.Arm(0);
        Assert.Equal(0, fired);
    }

    [Fact]
    public void Now_HostReader_NeverGoesBackAcrossPauses()
    {
        using var clock = new VmClock(TimeProvider.System);
        clock.Resume();
        var stop = false;
        var pauser = new Thread(() =>
        {
            for (var i = 0; i < 20_000; i++)
            {
                clock.Pause();
                clock.Resume();
            }

            Volatile.Write(ref stop, true);
        });
        pauser.Start();
        long last = 0;
        while (!Volatile.Read(ref stop))
        {
            // A reader preempted in the middle may see a little more than the clock stood at when it was stopped; never minutes.
            var now = clock.Now;
            Assert.True(now >= last - 1_000_000_000 && now <= Stopwatch.GetTimestamp());
            last = Math.Max(last, now);
        }

        pauser.Join();
    }
}
