using Vmm.Core.Backends;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Cpu;

/// <summary>What other threads ask of this processor, served between two blocks.</summary>
internal sealed partial class Vcpu
{
    public const int EventKick = 1, EventInterrupt = 2, EventInvalidate = 4, EventInit = 8, EventStartup = 16, EventNmi = 32;

    /// <summary>More than all events together.</summary>
    public const int EventLimit = 64;

    private volatile bool _externalInterrupt;
    private volatile int _activity;
    private int _startupVector;
    private bool _nmiPending;
    private bool _nmiBlocked;

    // Of a loaded state only: the processor itself never stops between STI or MOV SS and the instruction behind it.
    private byte _interruptShadow;

    /// <summary>Running, halted, or waiting for INIT or SIPI.</summary>
    public MpState Activity { get => (MpState)_activity; set => _activity = (int)value; }

    /// <summary>NMIs wait until IRET clears this.</summary>
    public bool NmiBlocked { get => _nmiBlocked; set { _nmiBlocked = value; if (!value && _nmiPending) Signal(EventNmi); if (!value && NmiWindowRequested) Signal(EventInterrupt); } }

    /// <summary>The level of the 8259's INTR pin.</summary>
    public bool ExternalInterrupt => _externalInterrupt;

    /// <inheritdoc/>
    public void Kick()
    {
        Signal(EventKick);
        Partition.Kicked?.Invoke(Index);
    }

    /// <inheritdoc/>
    public void SetExternalInterrupt(bool level)
    {
        _externalInterrupt = level;
        if (level) Wake(EventInterrupt);
    }

    /// <inheritdoc/>
    public void InjectNmi() => Wake(EventNmi);

    /// <summary>INIT, from another processor's local APIC.</summary>
    public void RequestInit()
    {
        // A start-up message that came before it counts for nothing.
        Interlocked.And(ref S.Events, ~EventStartup);
        Wake(EventInit);
    }

    /// <summary>SIPI: ignored unless INIT came before.</summary>
    public void RequestStartup(byte vector)
    {
        Volatile.Write(ref _startupVector, vector);
        Wake(EventStartup);
    }

    /// <summary>The local APIC has something that may be deliverable.</summary>
    public void RequestInterrupt() => Wake(EventInterrupt);

    /// <summary>Asks for a look at an event at the next block end.</summary>
    public void Signal(int bits)
    {
        if ((bits & EventInterrupt) != 0) Volatile.Write(ref S.Translator.HeldBack, 1);
        Interlocked.Or(ref S.Events, bits);
        _executor?.Targets.Close();
    }

    // As Signal, and if the processor is halted its runner is told to run it again. Halt publishes Activity before it looks at
    // the events one last time, and the signal is published before Activity is looked at here: one of both sees the other.
    private void Wake(int bits)
    {
        Signal(bits);
        if (Activity != MpState.Runnable) Partition.Kicked?.Invoke(Index);
    }

    /// <summary>After IF, TPR or the interrupt shadow changed: what was held back may be deliverable now.</summary>
    public void InterruptsChanged()
    {
        ref var held = ref S.Translator.HeldBack;
        if (Volatile.Read(ref held) == 0) return;
        // Whoever has an interrupt makes it known before he signals: it is seen here, or the signal comes behind this.
        Interlocked.Exchange(ref held, 0);
        if (_externalInterrupt || InterruptWindowRequested || Apic.HasPending) Signal(EventInterrupt);
    }

    /// <summary>HLT (or MWAIT): waits unless something is there already.</summary>
    public void Halt()
    {
        Activity = MpState.Halted;
        Signal(EventInterrupt);
    }

    // The one instruction that a loaded interrupt shadow covers, before any interrupt is looked at. A kick may come first: the shadow stays.
    private void RunInShadow()
    {
        if (Activity != MpState.Runnable || S.FaultVector >= 0 || _shutdown)
        {
            _interruptShadow = 0;
            return;
        }

        if ((Volatile.Read(ref S.Events) & EventInvalidate) != 0)
        {
            Interlocked.And(ref S.Events, ~EventInvalidate);
            ServeInvalidations();
        }

        _interruptShadow = 0;
        S.Mode |= CpuMode.Step;
        Step();
        UpdateMode();
        if (S.FaultVector >= 0 && !_intercepted) DeliverFault();
        Signal(EventInterrupt);
    }

    private VcpuStop? ServeEvents()
    {
        var events = Interlocked.Exchange(ref S.Events, 0);
        if ((events & EventInvalidate) != 0) ServeInvalidations();
        ServeMessages(events);
        if (_interruptShadow == 0 && Activity is MpState.Runnable or MpState.Halted && S.FaultVector < 0 && !_shutdown)
        {
            if (IsWindowOpen)
            {
                Signal(events & EventKick);
                return new VcpuStop(VcpuStopKind.Debug);
            }

            if (_nmiPending && !_nmiBlocked)
            {
                (_nmiPending, _nmiBlocked) = (false, true);
                Activity = MpState.Runnable;
                DeliverInterrupt(Vector.NMI);
            }
            else if ((S.SystemFlags & Flags.IF) != 0 && NextInterrupt() is >= 0 and var vector)
            {
                Activity = MpState.Runnable;
                DeliverInterrupt(vector);
            }
        }

        if ((events & EventKick) != 0)
        {
            Counters.Kicks++;
            return new VcpuStop(VcpuStopKind.Kicked);
        }

        if (Activity == MpState.Runnable) return null;
        if (_shutdown) return new VcpuStop(VcpuStopKind.Shutdown);
        if (S.Events != 0) return null;
        Counters.Halts++;
        RefillBudget();
        return S.Events != 0 ? null : new VcpuStop(VcpuStopKind.Halted);
    }

    // The local APIC decides between its own interrupts and the 8259's, which comes in through LINT0.
    private int NextInterrupt()
    {
        if (_externalInterrupt && Apic.AcceptsExternal) return Bus.AcknowledgeExternalInterrupt();
        return Apic.TakeInterrupt();
    }

    private void ServeMessages(int events)
    {
        if ((events & EventNmi) != 0) _nmiPending = true;
        if ((events & EventInit) != 0) ServeInit();
        if ((events & EventStartup) != 0 && Activity == MpState.InitReceived) ServeStartup();
    }

    // What has come while the processor did not run is part of the state that is read, and is gone when another is set.
    private void AbsorbMessages()
    {
        const int messages = EventNmi | EventInit | EventStartup;
        if ((Volatile.Read(ref S.Events) & messages) != 0) ServeMessages(Interlocked.And(ref S.Events, ~messages) & messages);
    }

    private void ServeInit()
    {
        if (Activity == MpState.Uninitialized || Index != 0)
        {
            ResetByInit();
            Activity = MpState.InitReceived;
        }
        else
        {
            ResetByInit();
            Activity = MpState.Runnable;
        }
    }

    private void ServeStartup()
    {
        ref var s = ref S;
        var vector = (ushort)Volatile.Read(ref _startupVector);
        s.Seg[1] = SegmentState.RealMode((ushort)(vector << 8)) with { Attributes = 0x9B };
        s.Rip = 0;
        Activity = MpState.Runnable;
        UpdateMode();
    }
}
