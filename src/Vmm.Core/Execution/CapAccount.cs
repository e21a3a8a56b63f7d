namespace Vmm.Core.Execution;

/// <summary>
/// The accounting of a CPU cap: so many nanoseconds of run time in each period of 100 ms, all vCPUs of a machine together. Time is
/// reserved before it is used and settled after, so that several vCPUs cannot spend the same budget; what was used beyond a
/// reservation is owed to the following periods, what was not used is lost with its period. Pure: it is told the time. One caller at a time.
/// </summary>
/// <param name="cap">The fraction of a core.</param>
internal sealed class CapAccount(double cap)
{
    /// <summary>The length of a period, in nanoseconds.</summary>
    public const long Period = 100_000_000;

    private readonly long _budget = (long)Math.Min(cap * Period, long.MaxValue / 4);
    private long _start = long.MinValue;
    private long _left;

    /// <summary>Asks for run time.</summary>
    /// <param name="now">Host time in nanoseconds; never earlier than at the last call.</param>
    /// <param name="wanted">Nanoseconds, more than zero.</param>
    /// <returns>What is granted: up to <paramref name="wanted"/>, zero when this period's budget is spent.</returns>
    public long Reserve(long now, long wanted)
    {
        Renew(now);
        var granted = Math.Clamp(_left, 0, wanted);
        _left -= granted;
        return granted;
    }

    /// <summary>Tells what became of a reservation.</summary>
    /// <param name="granted">What <see cref="Reserve"/> returned.</param>
    /// <param name="used">What was used of it, or beyond it.</param>
    public void Settle(long granted, long used) => _left = Math.Min(_left + granted - used, _budget);

    /// <summary>Nanoseconds until there can be budget again.</summary>
    /// <param name="now">Host time in nanoseconds.</param>
    public long UntilRenewal(long now)
    {
        Renew(now);
        if (_left > 0) return 0;
        var periods = -_left / _budget + 1;
        return _start + periods * Period - now;
    }

    private void Renew(long now)
    {
        if (_start == long.MinValue) (_start, _left) = (now, _budget);
        var periods = (now - _start) / Period;
        if (periods <= 0) return;
        _start += periods * Period;
        var debt = Math.Min(_left, 0);
        _left = -debt / _budget >= periods ? debt + periods * _budget : Math.Min(debt + (-debt / _budget + 1) * _budget, _budget);
        if (debt == 0) _left = _budget;
    }
}
