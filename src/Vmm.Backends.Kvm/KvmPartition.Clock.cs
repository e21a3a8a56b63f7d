using Vmm.Backends.Kvm.Interop;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>kvmclock, which shows the machine's own clock.</summary>
public sealed partial class KvmPartition
{
    private readonly Lock _clockLock = new();
    private long _clockOrigin = long.MinValue;

    /// <summary>The machine's clock has gone on after a pause, or for the first time: the first vCPU to run again sets kvmclock by it.</summary>
    internal void ClockMoved(long origin)
    {
        if (!Host.Has(KVM_CAP_ADJUST_CLOCK)) return;
        lock (_clockLock)
        {
            if (_clockOrigin == origin) return;
            _clockOrigin = origin;
            var clock = new kvm_clock_data { clock = (ulong)Math.Max(0, Clock.Now) };
            _ = _vm.TryCall(KVM_SET_CLOCK, ref clock);
        }
    }

    /// <summary>A vCPU's state was set: kvmclock is to be set again before it runs.</summary>
    internal void ClockLoaded(int index)
    {
        if (index != 0) return;
        lock (_clockLock) _clockOrigin = long.MinValue;
    }
}
