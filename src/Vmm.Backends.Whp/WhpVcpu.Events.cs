// Interrupts that do not go through the local APIC's request register: the 8259's, by LINT0 in ExtINT mode (Intel SDM vol. 3, 11.5.1), and NMIs.
using System.Buffers.Binary;
using Vmm.Backends.Whp.Interop;
using static Vmm.Backends.Whp.Interop.WHV_REGISTER_NAME;

namespace Vmm.Backends.Whp;

/// <summary>Interrupt pin and NMI. Both wait in the backend until the processor can take them, so that a saved state shows them.</summary>
internal sealed partial class WhpVcpu
{
    private const int Lint0 = 0x350, ApicPage = 4096;

    private readonly byte[] _apicPage = new byte[ApicPage];
    private int _eventsChanged;
    private volatile bool _external;
    private volatile bool _nmi;
    private ulong _windowAsked;

    /// <inheritdoc/>
    public void SetExternalInterrupt(bool level)
    {
        _external = level;
        if (level) EventsChanged();
    }

    /// <inheritdoc/>
    public void InjectNmi()
    {
        _nmi = true;
        EventsChanged();
    }

    // On the processor's own thread the run loop looks by itself.
    private void EventsChanged()
    {
        Interlocked.Exchange(ref _eventsChanged, 1);
        if (Volatile.Read(ref _thread) != Environment.CurrentManagedThreadId) _calls.Cancel(Index);
    }

    private void DeliverEvents()
    {
        Interlocked.Exchange(ref _eventsChanged, 0);
        if (!_external && !_nmi) return;
        ReadOnlySpan<WHV_REGISTER_NAME> names = [WHvX64RegisterRflags, WHvRegisterInterruptState, WHvRegisterPendingInterruption, WHvRegisterPendingEvent, WHvRegisterInternalActivityState, WHvX64RegisterApicBase];
        Span<WHV_REGISTER_VALUE> now = stackalloc WHV_REGISTER_VALUE[6];
        _calls.GetRegisters(Index, names, now);
        var (state, activity) = (now[1].Reg64, now[4].Reg64);
        if ((activity & WHV_INTERNAL_ACTIVITY_REGISTER.StartupSuspend) != 0) return;
        var free = (state & WHV_X64_INTERRUPT_STATE_REGISTER.InterruptShadow) == 0
            && (now[2].Reg64 & WHV_X64_PENDING_INTERRUPTION_REGISTER.InterruptionPending) == 0
            && (now[3].Reg64 & WHV_X64_PENDING_EXCEPTION_EVENT.EventPending) == 0;
        ulong window = 0;
        if (_nmi)
        {
            if (free && (state & WHV_X64_INTERRUPT_STATE_REGISTER.NmiMasked) == 0)
            {
                _nmi = false;
                free = false;
                Counters.Interrupts++;
                now[2].Reg64 = WHV_X64_PENDING_INTERRUPTION_REGISTER.InterruptionPending | (ulong)WHV_X64_PENDING_INTERRUPTION_TYPE.WHvX64PendingNmi << 1 | 2UL << 16;
                Inject(WHvRegisterPendingInterruption, now[2], activity);
            }
            else
            {
                window |= WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER.NmiNotification;
            }
        }

        if (_external)
        {
            if (!AcceptsExternal(now[5].Reg64))
            {
                // Somebody has to look again when LINT0 is unmasked: at the trap of that write, or else at the next exit.
                Interlocked.Exchange(ref _eventsChanged, 1);
            }
            else if (free && (now[0].Reg64 & 0x200) != 0)
            {
                Counters.Interrupts++;
                WHV_REGISTER_VALUE value = default;
                value.Reg64 = WHV_X64_PENDING_EXT_INT_EVENT.EventPending | (ulong)WHV_X64_PENDING_EVENT_TYPE.WHvX64PendingEventExtInt << 1 | (ulong)Bus.AcknowledgeExternalInterrupt() << 8;
                Inject(WHvRegisterPendingEvent, value, activity);

                // The pin may still be high, or high again: a second one waits for its window.
                if (_external) window |= WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER.InterruptNotification;
            }
            else
            {
                window |= WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER.InterruptNotification;
            }
        }

        if (window == 0 || window == _windowAsked) return;
        _windowAsked |= window;
        Span<WHV_REGISTER_VALUE> asked = stackalloc WHV_REGISTER_VALUE[1];
        asked[0].Reg64 = _windowAsked;
        _calls.SetRegisters(Index, [WHvX64RegisterDeliverabilityNotifications], asked);
    }

    // HLT waits inside the platform, and an event that is injected does not by itself end that.
    private void Inject(WHV_REGISTER_NAME name, WHV_REGISTER_VALUE value, ulong activity)
    {
        Span<WHV_REGISTER_VALUE> values = stackalloc WHV_REGISTER_VALUE[2];
        values[0] = value;
        values[1].Reg64 = activity & ~WHV_INTERNAL_ACTIVITY_REGISTER.HaltSuspend;
        _calls.SetRegisters(Index, [name, WHvRegisterInternalActivityState], values);
    }

    private void InjectException(byte vector, uint? error)
    {
        Span<WHV_REGISTER_VALUE> value = stackalloc WHV_REGISTER_VALUE[1];
        value[0].Reg64 = WHV_X64_PENDING_EXCEPTION_EVENT.EventPending | (ulong)WHV_X64_PENDING_EVENT_TYPE.WHvX64PendingEventException << 1
            | (error is null ? 0 : WHV_X64_PENDING_EXCEPTION_EVENT.DeliverErrorCode) | (ulong)vector << 16 | (ulong)(error ?? 0) << 32;
        Counters.Exceptions++;
        _calls.SetRegisters(Index, [WHvRegisterPendingEvent], value);
    }

    private bool AcceptsExternal(ulong apicBase)
    {
        if ((apicBase & 0x800) == 0) return Index == 0;
        _calls.GetApic(Index, _apicPage);
        return (BinaryPrimitives.ReadUInt32LittleEndian(_apicPage.AsSpan(Lint0)) & 0x10700) == 0x700;
    }
}
