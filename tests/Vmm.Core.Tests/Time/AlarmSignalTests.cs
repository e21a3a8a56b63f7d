using System.Diagnostics;
using Vmm.Core.Time;

namespace Vmm.Core.Tests.Time;

public class AlarmSignalTests
{
    public static TheoryData<string> Kinds => ["host", "milliseconds"];

    private static AlarmSignal Make(string kind) => kind == "host" ? AlarmSignal.Create() : new MillisecondSignal();

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Wait_SetBefore_ReturnsAtOnceAndTakesIt(string kind)
    {
        using var signal = Make(kind);
        signal.Set();
        signal.Set();
        signal.Wait(long.MaxValue);
        var start = Stopwatch.GetTimestamp();
        signal.Wait(2_000_000);
        Assert.True(Stopwatch.GetElapsedTime(start) >= TimeSpan.FromMilliseconds(1.9));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Wait_ZeroOrLess_Returns(string kind)
    {
        using var signal = Make(kind);
        signal.Wait(0);
        signal.Wait(-5);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Reset_AfterSet_ForgetsIt(string kind)
    {
        using var signal = Make(kind);
        signal.Set();
        signal.Reset();
        var start = Stopwatch.GetTimestamp();
        signal.Wait(2_000_000);
        Assert.True(Stopwatch.GetElapsedTime(start) >= TimeSpan.FromMilliseconds(1.9));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Set_FromAnotherThread_NeverGetsLost(string kind)
    {
        // Two threads hand a turn to each other; one lost wake-up and this never ends.
        using var ping = Make(kind);
        using var pong = Make(kind);
        const int Turns = 5_000;
        var turn = 0;
        var other = new Thread(() =>
        {
            for (var i = 0; i < Turns; i++)
            {
                while (Volatile.Read(ref turn) != 2 * i + 1) ping.Wait(long.MaxValue);
                Volatile.Write(ref turn, 2 * i + 2);
                pong.Set();
            }
        }) { IsBackground = true };
        other.Start();
        for (var i = 0; i < Turns; i++)
        {
            Volatile.Write(ref turn, 2 * i + 1);
            ping.Set();
            while (Volatile.Read(ref turn) != 2 * i + 2) pong.Wait(long.MaxValue);
        }

        other.Join();
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Set_AfterDispose_DoesNothing(string kind)
    {
        var signal = Make(kind);
        signal.Dispose();
        signal.Set();
        signal.Reset();
        signal.Wait(1);
    }
}
