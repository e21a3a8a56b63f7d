using Vmm.Backends.Whp.Interop;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using static Vmm.Backends.Whp.Interop.WHV_REGISTER_NAME;
using static Vmm.Backends.Whp.Interop.WHV_RUN_VP_EXIT_REASON;

namespace Vmm.Backends.Whp;

/// <summary>
/// One virtual processor. HLT waits inside the platform, which also emulates the local APIC: <see cref="Run"/> comes back by a kick, not
/// with <see cref="VcpuStopKind.Halted"/>.
/// </summary>
internal sealed partial class WhpVcpu : IVcpu, IDisposable
{
    private readonly WhpPartition _partition;
    private readonly WhpCalls _calls;
    private readonly WhpEmulator _emulator;
    private readonly WHV_RUN_VP_EXIT_CONTEXT[] _exit = GC.AllocateArray<WHV_RUN_VP_EXIT_CONTEXT>(1, pinned: true);
    private int _kicked;
    private int _thread;
    private bool _shutdown;

    public WhpVcpu(WhpPartition partition, WhpFunctions functions, int index)
    {
        (_partition, _calls, Index) = (partition, partition.Calls, index);
        _emulator = new WhpEmulator(functions, this);
        try
        {
            FindRegisters();
            SetInitialState();
        }
        catch
        {
            _emulator.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public int Index { get; }

    /// <inheritdoc/>
    public ulong InstructionsRetired => 0;

    /// <inheritdoc/>
    public VcpuCounters Counters { get; } = new();

    private SystemBus Bus => _partition.Bus;

    /// <inheritdoc/>
    public VcpuStop Run()
    {
        Volatile.Write(ref _thread, Environment.CurrentManagedThreadId);
        try
        {
            while (true)
            {
                // A kick that comes after this line has also cancelled the run below, or the platform keeps that for it.
                if (Interlocked.Exchange(ref _kicked, 0) != 0)
                {
                    Counters.Kicks++;
                    return new VcpuStop(VcpuStopKind.Kicked);
                }

                if (_shutdown) return new VcpuStop(VcpuStopKind.Shutdown);
                if (Volatile.Read(ref _eventsChanged) != 0) DeliverEvents();
                WhpResult.Check(_calls.Run(Index, _exit), "WHvRunVirtualProcessor");
                if (Serve(ref _exit[0]) is { } stop) return stop;
            }
        }
        finally
        {
            Volatile.Write(ref _thread, 0);
        }
    }

    /// <inheritdoc/>
    public void Kick()
    {
        Interlocked.Exchange(ref _kicked, 1);
        _calls.Cancel(Index);
        _partition.Options.Kicked?.Invoke(Index);
    }

    public void Dispose() => _emulator.Dispose();

    private VcpuStop? Serve(ref WHV_RUN_VP_EXIT_CONTEXT exit)
    {
        switch (exit.ExitReason)
        {
            case WHvRunVpExitReasonCanceled or WHvRunVpExitReasonNone:
                return null;
            case WHvRunVpExitReasonX64IoPortAccess:
                return ServePort(ref exit);
            case WHvRunVpExitReasonMemoryAccess:
                return ServeMemory(ref exit);
            case WHvRunVpExitReasonX64Cpuid:
                ServeCpuid(ref exit);
                return null;
            case WHvRunVpExitReasonX64MsrAccess:
                ServeMsr(ref exit);
                return null;
            case WHvRunVpExitReasonX64ApicEoi:
                Bus.EndOfInterrupt((byte)exit.ApicEoi.InterruptVector);
                return null;
            case WHvRunVpExitReasonX64InterruptWindow:
                _windowAsked = 0;
                EventsChanged();
                return null;
            case WHvRunVpExitReasonX64ApicWriteTrap:
                EventsChanged();
                return null;
            case WHvRunVpExitReasonX64Halt:
                // Only partitions without local APICs: a host that ignores the property.
                Counters.Halts++;
                Complete(ref exit);
                return new VcpuStop(VcpuStopKind.Halted);
            case WHvRunVpExitReasonUnrecoverableException:
                _shutdown = true;
                return new VcpuStop(VcpuStopKind.Shutdown);
            case WHvRunVpExitReasonInvalidVpRegisterValue:
                return Failed($"the platform finds the processor's state invalid at RIP 0x{exit.VpContext.Rip:x}");
            case WHvRunVpExitReasonUnsupportedFeature:
                return Failed($"the guest uses what the platform does not have ({exit.UnsupportedFeature.FeatureCode}, 0x{exit.UnsupportedFeature.FeatureParameter:x}) at RIP 0x{exit.VpContext.Rip:x}");
            default:
                return Failed($"unexpected exit {exit.ExitReason} at RIP 0x{exit.VpContext.Rip:x}");
        }
    }

    private VcpuStop? ServePort(ref WHV_RUN_VP_EXIT_CONTEXT exit)
    {
        ref var access = ref exit.IoPortAccess;
        var info = access.AccessInfo.AsUINT32;
        if ((info & (WHV_X64_IO_PORT_ACCESS_INFO.StringOp | WHV_X64_IO_PORT_ACCESS_INFO.RepPrefix)) != 0) return Emulated(_emulator.CompletePort(in exit), ref exit);
        var size = (int)(info & WHV_X64_IO_PORT_ACCESS_INFO.AccessSize) >> 1;
        if ((info & WHV_X64_IO_PORT_ACCESS_INFO.IsWrite) != 0)
        {
            Counters.PortWrites++;
            Bus.Ports.Write(access.PortNumber, size, access.Rax & (size >= 4 ? uint.MaxValue : (1u << size * 8) - 1));
            Complete(ref exit);
            return null;
        }

        Counters.PortReads++;
        var value = Bus.Ports.Read(access.PortNumber, size);
        var keep = size switch { 1 => ~0xFFUL, 2 => ~0xFFFFUL, _ => 0UL };
        Complete(ref exit, WHvX64RegisterRax, (access.Rax & keep) | (value & (size >= 4 ? uint.MaxValue : ~keep)));
        return null;
    }

    private VcpuStop? ServeMemory(ref WHV_RUN_VP_EXIT_CONTEXT exit)
    {
        ref var access = ref exit.MemoryAccess;
        var type = (WHV_MEMORY_ACCESS_TYPE)(access.AccessInfo.AsUINT32 & WHV_MEMORY_ACCESS_INFO.AccessType);
        if (_partition.IsMapped(access.Gpa, type == WHV_MEMORY_ACCESS_TYPE.WHvMemoryAccessWrite)) return null;
        if (type != WHV_MEMORY_ACCESS_TYPE.WHvMemoryAccessExecute) return Emulated(_emulator.CompleteMemory(in exit), ref exit);

        // Where nothing answers, an instruction fetch reads ones, which are no instruction.
        InjectException(6, null);
        return null;
    }

    private VcpuStop? Emulated(uint status, ref WHV_RUN_VP_EXIT_CONTEXT exit)
    {
        if ((status & WHV_EMULATOR_STATUS.EmulationSuccessful) != 0) return null;
        ReadOnlySpan<byte> bytes = exit.MemoryAccess.InstructionBytes;
        return Failed($"the platform cannot emulate the instruction at RIP 0x{exit.VpContext.Rip:x} (status 0x{status:x}, bytes {Convert.ToHexString(bytes[..Math.Min(bytes.Length, exit.MemoryAccess.InstructionByteCount)])})");
    }

    private void ServeCpuid(ref WHV_RUN_VP_EXIT_CONTEXT exit)
    {
        ref var access = ref exit.CpuidAccess;
        Span<WHV_REGISTER_VALUE> now = stackalloc WHV_REGISTER_VALUE[3];
        _calls.GetRegisters(Index, [WHvX64RegisterCr4, WHvX64RegisterXCr0, WHvX64RegisterApicBase], now);
        var r = _partition.Cpuid.Get((uint)access.Rax, (uint)access.Rcx, Index, now[0].Reg64, now[1].Reg64, now[2].Reg64);
        Span<WHV_REGISTER_VALUE> values = stackalloc WHV_REGISTER_VALUE[5];
        (values[0].Reg64, values[1].Reg64, values[2].Reg64, values[3].Reg64, values[4].Reg64) = (NextRip(ref exit.VpContext), r.Eax, r.Ebx, r.Ecx, r.Edx);
        _calls.SetRegisters(Index, [WHvX64RegisterRip, WHvX64RegisterRax, WHvX64RegisterRbx, WHvX64RegisterRcx, WHvX64RegisterRdx], values);
        EndShadow(ref exit.VpContext);
    }

    private void Complete(ref WHV_RUN_VP_EXIT_CONTEXT exit)
    {
        Span<WHV_REGISTER_VALUE> value = stackalloc WHV_REGISTER_VALUE[1];
        value[0].Reg64 = NextRip(ref exit.VpContext);
        _calls.SetRegisters(Index, [WHvX64RegisterRip], value);
        EndShadow(ref exit.VpContext);
    }

    private void Complete(ref WHV_RUN_VP_EXIT_CONTEXT exit, WHV_REGISTER_NAME register, ulong result)
    {
        Span<WHV_REGISTER_VALUE> values = stackalloc WHV_REGISTER_VALUE[2];
        (values[0].Reg64, values[1].Reg64) = (NextRip(ref exit.VpContext), result);
        _calls.SetRegisters(Index, [WHvX64RegisterRip, register], values);
        EndShadow(ref exit.VpContext);
    }

    private static ulong NextRip(ref WHV_VP_EXIT_CONTEXT context)
    {
        var next = context.Rip + (ulong)(context.InstructionLengthAndCr8 & WHV_VP_EXIT_CONTEXT.InstructionLength);
        var code64 = (context.ExecutionState.AsUINT16 & WHV_X64_VP_EXECUTION_STATE.EferLma) != 0 && (context.Cs.Attributes & 0x2000) != 0;
        return code64 ? next : (uint)next;
    }

    // An instruction completed here was the one that STI or MOV SS covers.
    private void EndShadow(ref WHV_VP_EXIT_CONTEXT context)
    {
        if ((context.ExecutionState.AsUINT16 & WHV_X64_VP_EXECUTION_STATE.InterruptShadow) == 0) return;
        Span<WHV_REGISTER_VALUE> value = stackalloc WHV_REGISTER_VALUE[1];
        _calls.GetRegisters(Index, [WHvRegisterInterruptState], value);
        value[0].Reg64 &= ~WHV_X64_INTERRUPT_STATE_REGISTER.InterruptShadow;
        _calls.SetRegisters(Index, [WHvRegisterInterruptState], value);
    }

    private static VcpuStop Failed(string reason) => new(VcpuStopKind.Failed, reason);
}
