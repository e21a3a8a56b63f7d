using Vmm.Backends.Software.Mmu;
using Vmm.Core.Backends;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Stops in front of intercepted instructions, and at windows for interrupts.</summary>
internal sealed partial class Vcpu
{
    // A fault that is none: handlers undo and leave as for any other.
    private const int InterceptVector = 256;

    private bool _intercepted;

    // A stack or table in I/O has no instruction that somebody could emulate: delivery goes to the bus by itself.
    private bool _delivering;

    /// <summary>Run returns <see cref="VcpuStopKind.Debug"/> when an interrupt could be taken.</summary>
    public bool InterruptWindowRequested
    {
        get;
        set
        {
            field = value;
            if (value) Volatile.Write(ref S.Translator.HeldBack, 1);
        }
    }

    /// <summary>Run returns <see cref="VcpuStopKind.Debug"/> when an NMI could be taken.</summary>
    public bool NmiWindowRequested { get; set; }

    public bool InterceptsPort(ushort port, int size, bool write) => Partition.Intercepts is { } i && i.Port(Index, port, size, write) && Intercept();

    public bool InterceptsCpuid() => Partition.Intercepts is { } i && i.Cpuid(Index) && Intercept();

    public bool InterceptsMsr(uint index, bool write) => Partition.Intercepts is { } i && i.Msr(Index, index, write) && Intercept();

    private bool InterceptsMemory(ulong gpa, Access access) => Partition.Intercepts is { } i && !_delivering && !Apic.Claims(gpa) && i.Memory(Index, gpa, access == Access.Write) && Intercept();

    private bool IsWindowOpen => (InterruptWindowRequested && (S.SystemFlags & Flags.IF) != 0) || (NmiWindowRequested && !_nmiBlocked);

    private bool Intercept()
    {
        _intercepted = true;
        Raise(InterceptVector, 0);
        return true;
    }

    /// <summary>Translates as an access of the processor's own would be, without recording a fault. Not while running.</summary>
    public bool TryTranslateFor(ulong linear, Access access, out ulong gpa)
    {
        var (vector, error, address) = (S.FaultVector, S.FaultError, S.Cr2);
        var done = TryTranslate(linear, access, access == Access.Fetch && S.Cpl != 3 ? Tlb.Supervisor : access == Access.Fetch ? Tlb.User : _view, out gpa, out _);
        (S.FaultVector, S.FaultError, S.Cr2) = (vector, error, address);
        return done;
    }

    /// <summary>An event to deliver before the next instruction (VMCS coding of the type).</summary>
    public void Inject(short vector, byte type, bool hasError, uint error) => _injected = (vector, type, hasError, error);

    /// <summary>The event that <see cref="Inject"/> has left and that was not delivered yet; vector -1 for none.</summary>
    public (short Vector, byte Type, bool HasError, uint Error) Injected => _injected;

    /// <summary>Whether interrupts are held off for an instruction.</summary>
    public byte InterruptShadow { get => _interruptShadow; set => _interruptShadow = value; }

    private VcpuStop StopIntercepted()
    {
        _intercepted = false;
        S.FaultVector = -1;
        return new VcpuStop(VcpuStopKind.Debug);
    }
}
