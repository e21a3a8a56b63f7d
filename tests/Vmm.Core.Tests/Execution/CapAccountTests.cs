using FsCheck.Xunit;
using Vmm.Core.Execution;

namespace Vmm.Core.Tests.Execution;

public class CapAccountTests
{
    private const long Ms = 1_000_000;

    [Fact]
    public void Reserve_WithinBudget_GrantsWhatIsWanted()
    {
        var account = new CapAccount(0.5);
        Assert.Equal(5 * Ms, account.Reserve(0, 5 * Ms));
        Assert.Equal(45 * Ms, account.Reserve(0, 100 * Ms));
        Assert.Equal(0, account.Reserve(99 * Ms, 1));
        Assert.Equal(Ms, account.UntilRenewal(99 * Ms));
    }

    [Fact]
    public void Reserve_NextPeriod_HasAFreshBudgetAndNoMore()
    {
        var account = new CapAccount(0.5);
        account.Reserve(0, 10 * Ms);
        Assert.Equal(50 * Ms, account.Reserve(1_000 * Ms, 1_000 * Ms));
    }

    [Fact]
    public void Settle_LessUsed_GivesTheRestBack()
    {
        var account = new CapAccount(0.1);
        Assert.Equal(5 * Ms, account.Reserve(0, 5 * Ms));
        account.Settle(5 * Ms, 1 * Ms);
        Assert.Equal(9 * Ms, account.Reserve(0, 100 * Ms));
    }

    [Fact]
    public void Settle_MoreUsed_IsOwedToTheNextPeriods()
    {
        var account = new CapAccount(0.1);
        var granted = account.Reserve(0, 10 * Ms);
        account.Settle(granted, 25 * Ms);
        Assert.Equal(0, account.Reserve(100 * Ms, 1));
        Assert.Equal(100 * Ms, account.UntilRenewal(100 * Ms));
        Assert.Equal(5 * Ms, account.Reserve(200 * Ms, 100 * Ms));
    }

    [Fact]
    public void UntilRenewal_DebtOfWholePeriods_CountsThem()
    {
        var account = new CapAccount(0.1);
        account.Settle(account.Reserve(0, 10 * Ms), 30 * Ms);
        Assert.Equal(300 * Ms, account.UntilRenewal(0));
        Assert.Equal(0, account.Reserve(299 * Ms, 1));
        Assert.True(account.Reserve(300 * Ms, 1) > 0);
    }

    [Property]
    public void AnySequence_NeverUsesMoreThanTheCap(byte capPercent, (byte Wait, byte Over)[] steps)
    {
        var cap = Math.Max((int)capPercent, 1) / 100.0;
        var account = new CapAccount(cap);
        long now = 0, used = 0, over = 0;
        foreach (var (wait, overrun) in steps)
        {
            now += wait * Ms / 4;
            var granted = account.Reserve(now, FairQueue.Slice);
            if (granted == 0)
            {
                var until = account.UntilRenewal(now);
                Assert.True(until > 0);
                now += until;
                Assert.True(account.Reserve(now, 1) > 0);
                account.Settle(1, 0);
                continue;
            }

            var use = granted + overrun * 1000;
            over = overrun * 1000;
            now += use;
            used += use;
            account.Settle(granted, use);
        }

        Assert.True(used <= cap * (now + CapAccount.Period) + over + 1, $"{used} of {now}");
    }
}
