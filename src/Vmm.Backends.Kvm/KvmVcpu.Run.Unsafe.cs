using System.Runtime.InteropServices;
using System.Text;
using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Backends;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>
/// The run loop. A request (kick, interrupt, NMI) is a word of its own, published before <c>immediate_exit</c> is set and the signal sent; the
/// loop clears <c>immediate_exit</c> before it reads the words. So a request that comes too late for one KVM_RUN ends the next, and the worst
/// that a late signal does is one more turn of the loop.
/// </summary>
internal sealed unsafe partial class KvmVcpu
{
    private readonly Lock _threadLock = new();
    private int _kicked, _external, _nmi;
    private int _thread;
    private bool _shutdown;
    private bool _ioPending;
    private bool _hasRun;
    private bool _isStateNew = true;
    private bool _isAsMade = true;
    private GuestDebug _debug = GuestDebug.Off;

    // SAFETY: the mapping is at least as long as kvm_run and lives as long as the vCPU; no one runs or kicks a disposed one.
    private ref kvm_run RunState => ref *(kvm_run*)_mapping.Address;

    /// <inheritdoc/>
    public VcpuStop Run()
    {
        if (_shutdown) return Interlocked.Exchange(ref _kicked, 0) != 0 ? Kicked() : new VcpuStop(VcpuStopKind.Shutdown);
        var thread = KickSignal.CurrentThread;
        lock (_threadLock) _thread = thread;
        var held = false;
        _isAsMade = false;
        try
        {
            _file.DangerousAddRef(ref held);
            FollowClock();
            return RunInside(_file.Descriptor);
        }
        finally
        {
            lock (_threadLock) _thread = 0;
            if (held) _file.DangerousRelease();
            _partition.DeliverCoalesced();
            _partition.SettleDoorbells();
        }
    }

    // Brings the thread out of KVM_RUN, or keeps it from going in.
    private void Interrupt()
    {
        lock (_threadLock)
        {
            if (_mapping.IsClosed) return;
            Volatile.Write(ref RunState.immediate_exit, 1);
            if (_thread != 0 && _thread != KickSignal.CurrentThread) KickSignal.Send(_thread);
        }
    }

    private VcpuStop Kicked()
    {
        Counters.Kicks++;
        if (_partition.Levels.ContainsAnyExcept(0)) TellLateEnds();
        return new VcpuStop(VcpuStopKind.Kicked);
    }

    private VcpuStop RunInside(int file)
    {
        ref var run = ref RunState;
        while (true)
        {
            // Where an access was served, this first completes it, whatever else waits.
            if (!_ioPending && (Volatile.Read(ref _kicked) | Volatile.Read(ref _external) | Volatile.Read(ref _nmi)) != 0 && ServeRequests(ref run)) return Kicked();
            // A failure that matters comes again, and then with its number; one that does not is the end of a wait, and the guest goes on.
            var result = Linux.ioctl_quick(file, (nuint)KVM_RUN, 0);
            if (result != 0) result = Linux.ioctl_raw(file, (nuint)KVM_RUN, 0);
            _ioPending = false;
            if (result != 0)
            {
                if (AfterFailure(ref run) is { } failed) return failed;
                continue;
            }

            _hasRun = true;
            switch (run.exit_reason)
            {
                case KVM_EXIT_IO:
                    _ioPending = true;
                    ServePorts(ref run);
                    break;
                case KVM_EXIT_MMIO:
                    _ioPending = true;
                    ServeMmio(ref run);
                    break;
                case KVM_EXIT_IRQ_WINDOW_OPEN or KVM_EXIT_INTR:
                    break;
                case KVM_EXIT_IOAPIC_EOI:
                    _partition.EndLevel(run.eoi_vector);
                    break;
                default:
                    if (ServeRare(ref run) is { } stop) return stop;
                    break;
            }
        }
    }

    // What others asked for. True: a kick, and the run is to return.
    private bool ServeRequests(ref kvm_run run)
    {
        run.immediate_exit = 0;
        Interlocked.MemoryBarrier();
        if (Interlocked.Exchange(ref _nmi, 0) != 0)
        {
            Counters.Interrupts++;
            _file.Call(KVM_NMI, nameof(KVM_NMI));
        }

        run.request_interrupt_window = 0;
        if (Volatile.Read(ref _external) != 0) InjectExternal(ref run);
        return Interlocked.Exchange(ref _kicked, 0) != 0;
    }

    // The vector is made part of the vCPU's state at once: one that is only queued would be lost to a state that is saved before the guest goes on.
    private void InjectExternal(ref kvm_run run)
    {
        if (_isStateNew)
        {
            // What the kernel last said of readiness was about another state; this run says it anew and goes nowhere.
            run.immediate_exit = 1;
            _ = Linux.ioctl_raw(_file.Descriptor, (nuint)KVM_RUN, 0);
            run.immediate_exit = 0;
            _isStateNew = false;
        }

        if (run.ready_for_interrupt_injection == 0 || run.if_flag == 0)
        {
            run.request_interrupt_window = 1;
            return;
        }

        var events = default(kvm_vcpu_events);
        _file.Call(KVM_GET_VCPU_EVENTS, nameof(KVM_GET_VCPU_EVENTS), ref events);
        if ((events.exception_injected | events.interrupt_injected | events.nmi_injected | events.exception_pending | events.interrupt_shadow) != 0)
        {
            run.request_interrupt_window = 1;
            return;
        }

        events.interrupt_injected = 1;
        events.interrupt_nr = _partition.Bus.AcknowledgeExternalInterrupt();
        events.interrupt_soft = 0;
        events.flags = 0;
        Counters.Interrupts++;
        _file.Call(KVM_SET_VCPU_EVENTS, nameof(KVM_SET_VCPU_EVENTS), ref events);

        // An injected event does not wake a halted vCPU by itself.
        var state = new kvm_mp_state { mp_state = KVM_MP_STATE_RUNNABLE };
        _file.Call(KVM_SET_MP_STATE, nameof(KVM_SET_MP_STATE), ref state);
        run.ready_for_interrupt_injection = 0;
        if (Volatile.Read(ref _external) != 0) run.request_interrupt_window = 1;
    }

    private VcpuStop? AfterFailure(ref kvm_run run)
    {
        var error = Marshal.GetLastPInvokeError();
        switch (error)
        {
            case Linux.EINTR:
                // The words are read by the next turn; one of them may have been served by an earlier one.
                run.immediate_exit = 0;
                Interlocked.MemoryBarrier();
                return null;
            case Linux.EAGAIN:
                return null; // a processor that waited for INIT or SIPI has got it
            case Linux.ENOMEM when !_hasRun:
                // The kernel starts a thread for the first run, and may be short of memory for it for a moment.
                _hasRun = true;
                return null;
            case Linux.EFAULT:
                return new VcpuStop(VcpuStopKind.Failed, $"KVM_RUN: EFAULT: the guest reached memory that this process has not mapped any more, {Where()}.");
            default:
                return new VcpuStop(VcpuStopKind.Failed, $"KVM_RUN: {Marshal.GetPInvokeErrorMessage(error)} ({error}), {Where()}.");
        }
    }

    private void ServePorts(ref kvm_run run)
    {
        if (_partition.HasCoalesced) _partition.DeliverCoalesced();
        var ports = _partition.Bus.Ports;
        int size = run.io_size;
        ulong port = run.io_port;
        // SAFETY: the kernel places the data inside the mapping, io_count elements of io_size bytes.
        var data = (byte*)_mapping.Address + run.io_data_offset;
        var count = run.io_count;
        if (run.io_direction == KVM_EXIT_IO_OUT)
        {
            Counters.PortWrites += count;
            for (; count > 0; count--, data += size) ports.Write(port, size, size == 1 ? *data : size == 2 ? *(ushort*)data : *(uint*)data);
            return;
        }

        Counters.PortReads += count;
        for (; count > 0; count--, data += size)
        {
            var value = ports.Read(port, size);
            if (size == 1) *data = (byte)value;
            else if (size == 2) *(ushort*)data = (ushort)value;
            else *(uint*)data = (uint)value;
        }
    }

    private void ServeMmio(ref kvm_run run)
    {
        if (_partition.HasCoalesced) _partition.DeliverCoalesced();
        var bus = _partition.Bus;
        // SAFETY: the kernel says at most 8 bytes.
        fixed (byte* bytes = run.mmio_data)
        {
            var data = new Span<byte>(bytes, (int)Math.Min(run.mmio_len, 8));
            if (run.mmio_is_write != 0)
            {
                Counters.MmioWrites++;
                bus.WriteMmio(run.mmio_phys_addr, data);
            }
            else
            {
                Counters.MmioReads++;
                bus.ReadMmio(run.mmio_phys_addr, data);
            }
        }
    }

    private VcpuStop? ServeRare(ref kvm_run run)
    {
        switch (run.exit_reason)
        {
            case KVM_EXIT_HLT:
                if (Volatile.Read(ref _external) != 0 && run.if_flag != 0 || Volatile.Read(ref _nmi) != 0) return null;
                Counters.Halts++;
                return new VcpuStop(VcpuStopKind.Halted);
            case KVM_EXIT_SHUTDOWN:
                _shutdown = true;
                return new VcpuStop(VcpuStopKind.Shutdown);
            case KVM_EXIT_DEBUG:
                return new VcpuStop(VcpuStopKind.Debug, null, DebugStopOf(ref run));
            case KVM_EXIT_X86_RDMSR:
                Counters.UnknownMsrs++;
                (run.msr_data, run.msr_error) = (0, 1);
                return null;
            case KVM_EXIT_X86_WRMSR:
                Counters.UnknownMsrs++;
                run.msr_error = 1;
                return null;
            case KVM_EXIT_DIRTY_RING_FULL:
                _partition.Harvest();
                return null;
            case KVM_EXIT_SET_TPR or KVM_EXIT_TPR_ACCESS or KVM_EXIT_X86_BUS_LOCK or KVM_EXIT_NMI:
                return null;
            case KVM_EXIT_SYSTEM_EVENT:
                return run.system_event_type switch
                {
                    KVM_SYSTEM_EVENT_SHUTDOWN => new VcpuStop(VcpuStopKind.PoweredOff),
                    KVM_SYSTEM_EVENT_RESET => new VcpuStop(VcpuStopKind.Reset),
                    KVM_SYSTEM_EVENT_CRASH => new VcpuStop(VcpuStopKind.Failed, $"KVM_EXIT_SYSTEM_EVENT: the guest says that it has crashed, {Where()}."),
                    var type => new VcpuStop(VcpuStopKind.Failed, $"KVM_EXIT_SYSTEM_EVENT of the unknown type {type}, {Where()}."),
                };
            case KVM_EXIT_FAIL_ENTRY:
                return new VcpuStop(VcpuStopKind.Failed, $"KVM_EXIT_FAIL_ENTRY: the processor refused the vCPU's state (hardware reason 0x{run.fail_entry_hardware_entry_failure_reason:x}), {Where()}; the state that was set last is not one a processor can be in.");
            case KVM_EXIT_INTERNAL_ERROR:
                return new VcpuStop(VcpuStopKind.Failed, InternalError(ref run));
            case var reason:
                return new VcpuStop(VcpuStopKind.Failed, $"KVM exit {reason} (hardware reason 0x{run.hw_hardware_exit_reason:x}) is not one that this backend knows, {Where()}.");
        }
    }

    private string InternalError(ref kvm_run run)
    {
        var text = new StringBuilder("KVM_EXIT_INTERNAL_ERROR: ");
        text.Append(run.internal_suberror switch
        {
            KVM_INTERNAL_ERROR_EMULATION => "the host's KVM cannot emulate an instruction",
            KVM_INTERNAL_ERROR_SIMUL_EX => "two exceptions at once",
            KVM_INTERNAL_ERROR_DELIVERY_EV => "an exit while an event was delivered",
            KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON => "an exit that the host's KVM does not know",
            var other => $"suberror {other}",
        });
        if (run.internal_suberror == KVM_INTERNAL_ERROR_EMULATION && run.internal_ndata >= 3 && (run.emulation_failure_flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0)
        {
            text.Append(':');
            for (var i = 0; i < Math.Min((int)run.emulation_failure_insn_size, 15); i++) text.Append(' ').Append(run.emulation_failure_insn_bytes[i].ToString("x2"));
        }

        return text.Append(", ").Append(Where()).Append('.').ToString();
    }

    private string Where()
    {
        var (regs, sregs) = (default(kvm_regs), default(kvm_sregs));
        return _file.TryCall(KVM_GET_REGS, ref regs) < 0 || _file.TryCall(KVM_GET_SREGS, ref sregs) < 0
            ? "place unknown"
            : $"at CS:RIP 0x{sregs.cs.selector:x}:0x{regs.rip:x} (CS base 0x{sregs.cs.@base:x}, CR0 0x{sregs.cr0:x}, CR3 0x{sregs.cr3:x}, EFER 0x{sregs.efer:x})";
    }

    private DebugStop DebugStopOf(ref kvm_run run)
    {
        if (run.debug_arch_exception == 3) return new DebugStop(DebugCause.SoftwareBreakpoint, run.debug_arch_pc);
        for (var i = 0; i < _debug.Breakpoints.Length; i++)
        {
            if ((run.debug_arch_dr6 >> i & 1) != 0) return new DebugStop(DebugCause.HardwareBreakpoint, run.debug_arch_pc, i);
        }

        return new DebugStop(DebugCause.SingleStep, run.debug_arch_pc);
    }

    private void SetDebugRegisters(GuestDebug debug)
    {
        var native = new kvm_guest_debug();
        if (debug != GuestDebug.Off) native.control |= KVM_GUESTDBG_ENABLE;
        if (debug.SingleStep) native.control |= KVM_GUESTDBG_SINGLESTEP;
        if (debug.SoftwareBreakpoints) native.control |= KVM_GUESTDBG_USE_SW_BP;
        if (!debug.Breakpoints.IsEmpty) native.control |= KVM_GUESTDBG_USE_HW_BP;
        for (var i = 0; i < debug.Breakpoints.Length; i++) native.debugreg[i] = debug.Breakpoints[i].Address;
        native.debugreg[7] = debug.Dr7;
        _file.Call(KVM_SET_GUEST_DEBUG, nameof(KVM_SET_GUEST_DEBUG), ref native);
        _debug = debug;
    }
}
