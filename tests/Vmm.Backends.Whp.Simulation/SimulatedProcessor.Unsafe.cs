using System.Runtime.CompilerServices;
using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Mmu;
using Vmm.Backends.Whp.Interop;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using static Vmm.Backends.Whp.Interop.WHV_RUN_VP_EXIT_REASON;

namespace Vmm.Backends.Whp.Simulation;

/// <summary>A virtual processor of the simulated platform: runs a software processor and turns what it stops at into exit contexts.</summary>
internal sealed unsafe partial class SimulatedProcessor(Vcpu cpu)
{
    /// <summary>The processor that this thread runs.</summary>
    [ThreadStatic]
    public static SimulatedProcessor? Current;

    private readonly ManualResetEventSlim _wake = new();
    private readonly SimulatedDecoder _decoder = new();
    private readonly Queue<byte> _ends = new();
    private WHV_RUN_VP_EXIT_CONTEXT _exit;
    private int _cancelled;
    private bool _stopped;

    public Vcpu Cpu => cpu;

    public void Wake() => _wake.Set();

    public void Cancel()
    {
        Interlocked.Exchange(ref _cancelled, 1);
        cpu.Kick();
    }

    public void EndOfInterrupt(byte vector)
    {
        _ends.Enqueue(vector);
        cpu.Signal(Vcpu.EventKick);
    }

    public void Run(WHV_RUN_VP_EXIT_CONTEXT* context)
    {
        Current = this;
        try
        {
            _exit = default;
            while (!TryRun()) { }
            *context = _exit;
        }
        finally
        {
            Current = null;
        }
    }

    public bool InterceptPort(ushort port, int size, bool write)
    {
        Begin(WHvRunVpExitReasonX64IoPortAccess);
        _exit.IoPortAccess.PortNumber = port;
        _exit.IoPortAccess.AccessInfo.AsUINT32 = (write ? WHV_X64_IO_PORT_ACCESS_INFO.IsWrite : 0) | (uint)size << 1;
        return true;
    }

    public bool InterceptMemory(ulong gpa, bool write)
    {
        Begin(WHvRunVpExitReasonMemoryAccess);
        _exit.MemoryAccess.Gpa = gpa;
        _exit.MemoryAccess.AccessInfo.AsUINT32 = write ? (uint)WHV_MEMORY_ACCESS_TYPE.WHvMemoryAccessWrite : 0;
        return true;
    }

    public bool InterceptCpuid()
    {
        Begin(WHvRunVpExitReasonX64Cpuid);
        return true;
    }

    public bool InterceptMsr(uint index, bool write)
    {
        // Those that the platform leaves to the caller, and those that it does not know.
        if (index is not (0x3A or 0x49 or 0x8B or 0xCE or 0x10A or 0x10B or 0x179 or 0x17A or 0x1A0 or 0x1D9) && (index is >= 0x800 and < 0x900 || cpu.TryReadMsr(index, out _))) return false;
        Begin(WHvRunVpExitReasonX64MsrAccess);
        _exit.MsrAccess.MsrNumber = index;
        _exit.MsrAccess.AccessInfo.AsUINT32 = write ? WHV_X64_MSR_ACCESS_INFO.IsWrite : 0;
        return true;
    }

    private void Begin(WHV_RUN_VP_EXIT_REASON reason)
    {
        _exit = default;
        _exit.ExitReason = reason;
        _stopped = true;
    }

    private bool TryRun()
    {
        _wake.Reset();
        if (Interlocked.Exchange(ref _cancelled, 0) != 0) return Exit(WHvRunVpExitReasonCanceled);
        if (_ends.TryDequeue(out var vector))
        {
            _exit.ApicEoi.InterruptVector = vector;
            return Exit(WHvRunVpExitReasonX64ApicEoi);
        }

        BeginEvents();
        _stopped = false;
        var stop = cpu.Run();
        switch (stop.Kind)
        {
            case VcpuStopKind.Debug when _stopped:
                Describe();
                return Exit(_exit.ExitReason);
            case VcpuStopKind.Debug:
                (cpu.InterruptWindowRequested, cpu.NmiWindowRequested) = (false, false);
                return Exit(WHvRunVpExitReasonX64InterruptWindow);
            case VcpuStopKind.Halted:
                _wake.Wait();
                return false;
            case VcpuStopKind.Kicked:
                return false;
            default:
                _wasShutDown = true;
                return Exit(WHvRunVpExitReasonUnrecoverableException);
        }
    }

    private bool Exit(WHV_RUN_VP_EXIT_REASON reason)
    {
        ref var s = ref cpu.S;
        _exit.ExitReason = reason;
        ref var vp = ref _exit.VpContext;
        vp.ExecutionState.AsUINT16 = (ushort)((uint)s.Cpl | (s.Cr0 & 1) << 2 | (s.Cr0 >> 18 & 1) << 3 | (s.Efer >> 10 & 1) << 4 | (cpu.InterruptShadow != 0 ? 1u << 12 : 0));
        vp.InstructionLengthAndCr8 |= (byte)(cpu.Apic.Tpr >> 4 << 4);
        vp.Cs = To(s.Seg[1]);
        (vp.Rip, vp.Rflags) = (s.Rip, s.Rflags);
        return true;
    }

    // The instruction in front of which the processor stands, as exits give it.
    private void Describe()
    {
        ref var s = ref cpu.S;
        Span<byte> bytes = stackalloc byte[16];
        var count = Fetch(bytes);
        var bitness = Bitness(s.Efer, s.Seg[1].Attributes);
        var instruction = _decoder.Decode(bitness, s.Rip, bytes[..count]);
        ref var gpr = ref s.Gpr;
        switch (_exit.ExitReason)
        {
            case WHvRunVpExitReasonMemoryAccess:
                _exit.MemoryAccess.InstructionByteCount = (byte)count;
                bytes.CopyTo(_exit.MemoryAccess.InstructionBytes);
                return;
            case WHvRunVpExitReasonX64IoPortAccess:
                ref var io = ref _exit.IoPortAccess;
                io.InstructionByteCount = (byte)count;
                bytes.CopyTo(io.InstructionBytes);
                (io.Rax, io.Rcx, io.Rsi, io.Rdi, io.Ds, io.Es) = (gpr[0], gpr[1], gpr[6], gpr[7], To(s.Seg[3]), To(s.Seg[0]));
                if (instruction.Mnemonic is not (Mnemonic.In or Mnemonic.Out)) io.AccessInfo.AsUINT32 |= WHV_X64_IO_PORT_ACCESS_INFO.StringOp;
                if (instruction.HasRepPrefix || instruction.HasRepnePrefix) io.AccessInfo.AsUINT32 |= WHV_X64_IO_PORT_ACCESS_INFO.RepPrefix;
                break;
            case WHvRunVpExitReasonX64MsrAccess:
                (_exit.MsrAccess.Rax, _exit.MsrAccess.Rdx) = (gpr[0], gpr[2]);
                break;
            case WHvRunVpExitReasonX64Cpuid:
                ref var id = ref _exit.CpuidAccess;
                (id.Rax, id.Rcx, id.Rdx, id.Rbx) = (gpr[0], gpr[1], gpr[2], gpr[3]);
                break;
        }

        _exit.VpContext.InstructionLengthAndCr8 = (byte)instruction.Length;
    }

    private int Fetch(Span<byte> bytes)
    {
        ref var s = ref cpu.S;
        var linear = s.Rip + s.Seg[1].Base;
        if (Bitness(s.Efer, s.Seg[1].Attributes) != 64) linear = (uint)linear;
        var first = (int)Math.Min(16, 4096 - (linear & 0xFFF));
        if (!cpu.TryTranslateFor(linear, Access.Fetch, out var gpa) || !cpu.Partition.Memory.TryRead(gpa, bytes[..first])) return 0;
        if (first == 16) return 16;
        return cpu.TryTranslateFor(linear + (uint)first, Access.Fetch, out gpa) && cpu.Partition.Memory.TryRead(gpa, bytes[first..]) ? 16 : first;
    }

    public static int Bitness(ulong efer, ushort codeAttributes) => (efer & 0x400) != 0 && (codeAttributes & 0x2000) != 0 ? 64 : (codeAttributes & 0x4000) != 0 ? 32 : 16;

    private static WHV_X64_SEGMENT_REGISTER To(SegmentState s) => new() { Base = s.Base, Limit = s.Limit, Selector = s.Selector, Attributes = s.Attributes };
}
