using System.Runtime.InteropServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// What one vCPU has of its own to run its machine's translated code: the cache of targets, the constants and functions that code finds by the base
/// register, windows and counts of runs. Used by the processor's own thread.
/// </summary>
// SAFETY: the memory outlives this, and the constants lie in the 32 bytes before the state, of which it keeps both.
internal sealed unsafe class Executor : IDisposable
{
    private readonly VcpuMemory _memory;
    private readonly delegate* unmanaged<byte*, nint, int> _enter;
    private GCHandle _handle;

    /// <param name="owner">The processor.</param>
    /// <param name="translator">The machine's code.</param>
    /// <param name="tables">The processor's memory, with its windows.</param>
    public Executor(Vcpu owner, Translator translator, VcpuTables tables)
    {
        (Owner, Translator, Windows, _memory) = (owner, translator, tables.Windows, tables.Memory);
        Targets = new TargetCache(_memory, tables.Spaces);
        _enter = (delegate* unmanaged<byte*, nint, int>)translator.Entrance;
        _handle = GCHandle.Alloc(owner);
        var constants = (ulong*)_memory.Base;
        (constants[0], constants[1], constants[2]) = ((Tlb.Size - 1) << 12, ~0xFFFUL, ~0xFF0UL);
        ref var s = ref _memory.State->Translator;
        (s.VectorMask, s.Aligned32Mask, s.VectorDead, s.X87Dead, s.Owner) = (0x1F80, ~0xFE0UL, 1, 1, GCHandle.ToIntPtr(_handle));
        (s.ArithmeticMask, s.InterruptMask, s.AccessMask, s.PushedMask, s.OffsetMask) = (Flags.Arithmetic, ~Flags.IF, ~Flags.AC, ~(Flags.RF | Flags.VM), 0xFFF);
        s.HalfMask = 0x800;
        const ulong loaded = Flags.Defined & ~(Flags.VM | Flags.Arithmetic);
        (s.DirectionMask, s.ModeMask, s.NestedMask, s.SysretMask, s.ReturnMask) = (~Flags.DF, Flags.TF | Flags.AC, Flags.NT, loaded & ~Flags.RF, loaded);
        (s.TimeMask, s.BasesMask, s.CanonicalMask, s.AlikeMask) = (ControlBits.Cr4Tsd, ControlBits.Cr4FsGsBase | ControlBits.Cr4La57, 0xFFFF_8000_0000_0000, 0x1FFFE);
        (s.Sign32, s.Word32, s.Bit32, s.Sign64, s.Word64, s.Bit64) = (1UL << 31, 0xFFFFFFE0, 31, 1UL << 63, ~63UL, 63);
        s.UserReturn.CodeSelector = s.KernelReturn.CodeSelector = 1;
        s.AccessCallback = (nint)(delegate* unmanaged<nint, int>)&Callbacks.Access;
        s.WindowCallback = (nint)(delegate* unmanaged<nint, int>)&Callbacks.Window;
        s.OperationCallback = (nint)(delegate* unmanaged<nint, int>)&Callbacks.Operation;
        s.TimeCallback = (nint)(delegate* unmanaged<nint, ulong>)&Callbacks.Time;
        s.X87Callback = (nint)(delegate* unmanaged<nint, int>)&Callbacks.X87;
    }

    /// <summary>The processor.</summary>
    public Vcpu Owner { get; }

    /// <summary>The machine's code.</summary>
    public Translator Translator { get; }

    /// <summary>Where branches find their targets.</summary>
    public TargetCache Targets { get; }

    /// <summary>Where the windows of hot code are open.</summary>
    public Windows Windows { get; }

    /// <summary>Runs code until it comes back. The state is complete before and after, but for the flags: <see cref="TranslatorState.HostFlags"/>.</summary>
    // SAFETY: code is an address that the translator gave; everything it reaches from the base register outlives it.
    public ExitKind Run(nint code) => (ExitKind)_enter(_memory.Base, code);

    /// <summary>Sets how many runs a translation has left until it is hot. Any thread.</summary>
    public void SetRuns(int number, int runs) => _memory.RunsLeft[number % VcpuMemory.Runs] = runs;

    /// <summary>Nothing leads to code any more: some of it is about to go.</summary>
    public void Forget()
    {
        Targets.FlushAll();
        Windows.Reset();
    }

    public void Dispose()
    {
        if (_handle.IsAllocated) _handle.Free();
    }
}
