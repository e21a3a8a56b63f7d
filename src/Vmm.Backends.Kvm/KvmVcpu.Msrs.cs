using Vmm.Backends.Kvm.Interop;
using Vmm.Core.X86;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>Model-specific registers and time.</summary>
internal sealed partial class KvmVcpu
{
    private const uint Tsc = 0x10, TscAdjust = 0x3B, TscDeadline = 0x6E0, FsGsFirst = 0xC0000100, FsGsLast = 0xC0000101, Efer = 0xC0000080, ApicBaseMsr = 0x1B;

    // By index, each with its value after power-on.
    private readonly kvm_msr_entry[] _msrs;
    private readonly uint _tscKilohertz;
    private long _origin = long.MinValue;

    // Those that this vCPU has: of the host's list, what can be read, and is not kept elsewhere in the state or part of features never offered.
    private kvm_msr_entry[] FindMsrs()
    {
        kvm_msr_entry[] asked =
        [
            .. from index in _partition.Host.Msrs
               where index is not ((>= FsGsFirst and <= FsGsLast) or Efer or ApicBaseMsr or (>= 0x40000000 and <= 0x400000FF) or (>= 0x480 and <= 0x4FF))
               select new kvm_msr_entry { index = index },
        ];
        List<kvm_msr_entry> found = [];

        // The kernel stops at the first that it does not have.
        for (var rest = asked.AsSpan(); !rest.IsEmpty;)
        {
            var count = (uint)rest.Length;
            var read = Math.Max(0, _file.TryCallList(KVM_GET_MSRS, rest, ref count));
            found.AddRange(rest[..read]);
            rest = rest[Math.Min(read + 1, rest.Length)..];
        }

        found.Sort((x, y) => x.index.CompareTo(y.index));
        return [.. found];
    }

    private MsrValue[] GetMsrs()
    {
        var entries = (kvm_msr_entry[])_msrs.Clone();
        var count = (uint)entries.Length;
        var read = _file.TryCallList(KVM_GET_MSRS, entries.AsSpan(), ref count);
        if (read < 0) throw KvmErrors.Of(nameof(KVM_GET_MSRS), -read);
        return Array.ConvertAll(entries[..read], e => new MsrValue(e.index, e.data));
    }

    // What a state does not name gets its value after power-on, but for the TSC, which runs on; what this host or model lacks (a snapshot of
    // another backend may hold some) is left out. TSC_ADJUST would move the TSC that was just set.
    private void SetMsrs(MsrValue[] saved, bool isDeadline)
    {
        var values = new Dictionary<uint, ulong>(saved.Length);
        foreach (var (index, value) in saved) values[index] = value;
        var entries = Array.FindAll(_msrs, m => (m.index == TscDeadline) == isDeadline && m.index != TscAdjust && (values.ContainsKey(m.index) || (m.index != Tsc && !_isAsMade)));
        foreach (ref var entry in entries.AsSpan()) entry.data = values.GetValueOrDefault(entry.index, entry.data);

        // The kernel stops at the first that it does not take; that one keeps what it has.
        for (var rest = entries.AsSpan(); !rest.IsEmpty;)
        {
            var count = (uint)rest.Length;
            var taken = _file.TryCallList(KVM_SET_MSRS, rest, ref count);
            rest = rest[Math.Min(Math.Max(taken, 0) + 1, rest.Length)..];
        }
    }

    /// <summary>
    /// The guest's time stands still while its machine is paused. The kernel's does not; so after a pause it is set back by as much as the
    /// machine's clock was.
    /// </summary>
    private void FollowClock()
    {
        var origin = _partition.Clock.Origin;
        if (origin == _origin) return;
        var paused = origin - _origin;
        var isFirst = _origin == long.MinValue;
        _origin = origin;
        _partition.ClockMoved(origin);
        if (isFirst || paused <= 0) return;
        Span<kvm_msr_entry> one = [new kvm_msr_entry { index = Tsc }];
        uint count = 1;
        if (_file.TryCallList(KVM_GET_MSRS, one, ref count) != 1) return;
        one[0].data -= (ulong)((Int128)paused * _tscKilohertz / 1_000_000);
        count = 1;
        _ = _file.TryCallList(KVM_SET_MSRS, one, ref count);
    }
}
