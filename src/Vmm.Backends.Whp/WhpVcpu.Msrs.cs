using Vmm.Backends.Whp.Interop;
using static Vmm.Backends.Whp.Interop.WHV_REGISTER_NAME;

namespace Vmm.Backends.Whp;

/// <summary>Model-specific registers that the platform does not handle by itself.</summary>
internal sealed partial class WhpVcpu
{
    private readonly SortedDictionary<uint, ulong> _held = [];
    private (uint Msr, WHV_REGISTER_NAME Name)[] _native = [];
    private WHV_REGISTER_NAME[] _nativeNames = [];

    // A batch fails as a whole where a host lacks one of its registers, so each is tried once.
    private void FindRegisters()
    {
        var value = new WHV_REGISTER_VALUE[1];
        _native = [.. MsrTable.Native.Where(m => _calls.TryGetRegisters(Index, [m.Name], value) >= 0)];
        _nativeNames = [.. _native.Select(n => n.Name)];
        ResetHeld();
    }

    private void ResetHeld()
    {
        _held.Clear();
        foreach (var (msr, reset, _) in MsrTable.Held)
        {
            if (!_native.Any(n => n.Msr == msr)) _held[msr] = reset;
        }
    }

    private void ServeMsr(ref WHV_RUN_VP_EXIT_CONTEXT exit)
    {
        ref var access = ref exit.MsrAccess;
        var write = (access.AccessInfo.AsUINT32 & WHV_X64_MSR_ACCESS_INFO.IsWrite) != 0;
        if (write ? TryWriteMsr(access.MsrNumber, (uint)access.Rax | access.Rdx << 32) : TryReadMsr(access.MsrNumber, out _))
        {
            if (write)
            {
                Complete(ref exit);
                return;
            }

            TryReadMsr(access.MsrNumber, out var value);
            Span<WHV_REGISTER_VALUE> values = stackalloc WHV_REGISTER_VALUE[3];
            (values[0].Reg64, values[1].Reg64, values[2].Reg64) = (NextRip(ref exit.VpContext), (uint)value, value >> 32);
            _calls.SetRegisters(Index, [WHvX64RegisterRip, WHvX64RegisterRax, WHvX64RegisterRdx], values);
            EndShadow(ref exit.VpContext);
            return;
        }

        if (!IsWriteOnly(access.MsrNumber)) Counters.UnknownMsrs++;
        InjectException(13, 0);
    }

    private bool TryReadMsr(uint msr, out ulong value) => _held.TryGetValue(msr, out value);

    private bool TryWriteMsr(uint msr, ulong value)
    {
        // Commands to predictors and caches: the host's own are not the guest's to flush.
        if (IsWriteOnly(msr)) return (value & ~1UL) == 0;
        if (msr == 0x8B) return true;
        foreach (var (known, _, writable) in MsrTable.Held)
        {
            if (known != msr || !_held.TryGetValue(msr, out var before)) continue;
            if (((value ^ before) & ~writable) != 0) return false;
            _held[msr] = value;
            return true;
        }

        return false;
    }

    private static bool IsWriteOnly(uint msr) => msr is 0x49 or 0x10B;
}
