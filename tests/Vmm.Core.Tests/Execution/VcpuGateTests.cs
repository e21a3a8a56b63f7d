using Vmm.Core.Execution;

namespace Vmm.Core.Tests.Execution;

public class VcpuGateTests
{
    private int _ends;

    [Fact]
    public void Enter_Open_GoesThrough()
    {
        var gate = Make(1);
        gate.Release();
        Assert.True(gate.IsOpen);
        Assert.True(gate.Enter());
        Assert.True(gate.Enter());
        Assert.Equal(0, _ends);
    }

    [Fact]
    public void Enter_Shut_LeavesAndEndsOnce()
    {
        var gate = Make(2);
        gate.ShutDown();
        Assert.Equal(0, _ends);
        Assert.False(gate.Enter());
        Assert.Equal(0, _ends);
        Assert.False(gate.Enter());
        Assert.Equal(1, _ends);
        gate.ShutDown();
        gate.Release();
        Assert.False(gate.IsOpen);
        Assert.Equal(1, _ends);
    }

    [Fact]
    public void ShutDown_NobodyInside_EndsAtOnce()
    {
        Make(0).ShutDown();
        Assert.Equal(1, _ends);
    }

    [Fact]
    public void Withdraw_OfThreadsThatNeverStarted_CountsThemOut()
    {
        var gate = Make(3);
        gate.ShutDown();
        gate.Withdraw(2);
        Assert.Equal(0, _ends);
        gate.Enter();
        Assert.Equal(1, _ends);
    }

    [Fact(Timeout = 20_000)]
    public async Task Close_WithThreadsInside_CompletesWhenAllHaveParked()
    {
        var gate = Make(2);
        gate.Release();
        var closed = gate.Close();
        Assert.False(closed.IsCompleted);
        var first = Task.Run(gate.Enter);
        await Task.Yield();
        Assert.False(closed.IsCompleted);
        var second = Task.Run(gate.Enter);
        await closed;
        Assert.False(first.IsCompleted || second.IsCompleted);
        Assert.True(gate.Close().IsCompleted);
        gate.Release();
        Assert.True(await first && await second);
        Assert.False(gate.Close().IsCompleted);
    }

    [Fact(Timeout = 20_000)]
    public async Task Close_ThenShut_LetsParkedThreadsGo()
    {
        var gate = Make(1);
        var closed = gate.Close();
        var parked = Task.Run(gate.Enter);
        await closed;
        gate.ShutDown();
        Assert.Equal(1, _ends);
        Assert.False(await parked);
        Assert.Equal(1, _ends);
    }

    [Fact(Timeout = 60_000)]
    public async Task CloseAndRelease_ManyTimes_NeverSeesAThreadInside()
    {
        var gate = Make(3);
        gate.Release();
        var inside = 0;
        var threads = Enumerable.Range(0, 3).Select(_ => Task.Factory.StartNew(() =>
        {
            while (gate.Enter())
            {
                Interlocked.Increment(ref inside);
                Thread.Yield();
                Interlocked.Decrement(ref inside);
            }
        }, TaskCreationOptions.LongRunning)).ToArray();
        for (var i = 0; i < 2_000; i++)
        {
            await gate.Close();
            Assert.Equal(0, Volatile.Read(ref inside));
            gate.Release();
        }

        gate.ShutDown();
        await Task.WhenAll(threads);
        Assert.Equal(1, _ends);
    }

    private VcpuGate Make(int threads)
    {
        var gate = new VcpuGate(() => Interlocked.Increment(ref _ends));
        gate.Admit(threads);
        return gate;
    }
}
