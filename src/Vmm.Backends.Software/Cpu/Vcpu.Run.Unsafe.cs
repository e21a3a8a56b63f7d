using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;
using Vmm.Core.Backends;
using Vmm.Core.Memory;
using static Vmm.Backends.Software.Cpu.ControlBits;

namespace Vmm.Backends.Software.Cpu;

/// <summary>The inner loop: from block to block until something else must be done.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>Instructions between two looks at the clock in counted time, and the longest chain in real time.</summary>
    private const long LongBudget = 1 << 24;

    private readonly BlockCache _blocks;
    private readonly BlockBuilder _builder;
    private readonly byte[] _bytes = new byte[32];
    private readonly byte[] _code = new byte[BlockBuilder.MostBytes];
    private Block* _current;
    private long _budgetGiven;
    private ulong _retired;
    private ulong _stopAfter = ulong.MaxValue;

    // Translated code counts for the sake of counted time only: it costs a quarter of the time of small loops.
    private readonly bool _counts;

    /// <inheritdoc/>
    public ulong InstructionsRetired => _counts ? Volatile.Read(ref _retired) + (ulong)(Volatile.Read(ref _budgetGiven) - Volatile.Read(ref S.Budget)) : 0;

    /// <summary>
    /// For lock-step tests: <see cref="Run"/> comes back at the first block end behind this many instructions more. Zero is one block.
    /// Only while it does not run.
    /// </summary>
    public void StopAfter(ulong instructions)
    {
        LeaveChain();
        _stopAfter = _retired + instructions;
    }

    /// <inheritdoc/>
    public VcpuStop Run()
    {
        _inside = true;
        Interlocked.MemoryBarrier();
        S.Translator.TimeLimit = 0;
        // Time that passed while this processor did not run (it was halted, or a state was loaded) is not made up for.
        if (Partition.Clock.IsCounted) _countedOffset = Math.Max(_countedOffset, Partition.Clock.Now - (long)InstructionsRetired * Partition.Clock.NanosecondsPerInstruction);
        try
        {
            return RunInside();
        }
        finally
        {
            _inside = false;
        }
    }

    private VcpuStop RunInside()
    {
        if (_injected.Vector >= 0) DeliverInjected();
        if (_interruptShadow != 0 && (S.Events & EventKick) == 0) RunInShadow();
        if (_intercepted) return StopIntercepted();
        while (true)
        {
            if (S.Events != 0 || Activity != Core.X86.MpState.Runnable)
            {
                if (ServeEvents() is { } stop) return stop;

                // Something came for a processor that is halted, or waits for start-up, while it was about to say so; it is not awake by that.
                if (Activity != Core.X86.MpState.Runnable) continue;
            }

            // Only INIT (or a new state) brings a processor back.
            if (_shutdown) return new VcpuStop(VcpuStopKind.Shutdown);
            if (S.Budget < 0)
            {
                RefillBudget();
                if (_retired > _stopAfter) return new VcpuStop(VcpuStopKind.Debug);
                // A timer that has fired just now interrupts here, with either engine.
                if (S.Events != 0) continue;
            }

            if ((S.Mode & CpuMode.Step) != 0) Step();
            else if (Translates && _executor is { } executor) RunTranslated(executor);
            else if (Translates) RunCold();
            else
            {
                ref var op = ref Lookup();
                if (!Unsafe.IsNullRef(ref op)) Execute(ref op);
            }

            if (S.FaultVector < 0) continue;
            if (_intercepted) return StopIntercepted();
            DeliverFault();
        }
    }

    /// <summary>Goes on at <see cref="CpuState.Rip"/>, without leaving the chain if nothing waits and the block is known.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref Op Continue()
    {
        ref var s = ref S;
        if (((uint)(s.Budget >> 63) | (uint)Volatile.Read(ref s.Events)) != 0) return ref Leave();
        return ref Enter();
    }

    /// <summary>Goes on at <see cref="CpuState.Rip"/> whatever waits: after STI and MOV SS.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref Op Enter()
    {
        ref var s = ref S;
        var rip = s.Rip;
        var key = ((rip + s.Seg[1].Base) << CpuMode.Bits) | s.Mode;
        // SAFETY: Slot is below the array's size; entries hold blocks that live until the jump cache is cleared with them.
        ref var entry = ref _blocks.Jumps[BlockCache.Slot(key)];
        if (entry.Key != key) return ref Lookup();
        var block = entry.Block;
        if (rip + (uint)block->Bytes - 1 > s.CodeLimit) return ref Lookup();
        s.Gpr[17] = rip;
        s.Budget -= block->Count;
        _current = block;
        // SAFETY: only blocks that have their ops behind them are in there.
        return ref Unsafe.AsRef<Op>(block + 1);
    }

    /// <summary>Goes on whatever waits, in translated mode too: the next block is interpreted.</summary>
    public ref Op EnterInShadow()
    {
        if (Translates) return ref FindBlock();
        return ref Enter();
    }

    /// <summary>Records a fault; always false, so that a <c>Try...</c> can return it.</summary>
    public bool Raise(int vector, uint error)
    {
        S.FaultVector = vector;
        S.FaultError = error;
        return false;
    }

    /// <summary>Ends the chain at an instruction whose fault has been recorded: nothing of it has happened.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public ref Op Fault(ref Op op)
    {
        Rewind(ref op);
        return ref Leave();
    }

    /// <summary>Records a fault of an instruction and ends the chain there.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public ref Op Fault(ref Op op, int vector, uint error = 0)
    {
        Raise(vector, error);
        Rewind(ref op);
        return ref Leave();
    }

    /// <summary>Makes RIP and the instruction count those of just before an instruction of the current block.</summary>
    public void Rewind(ref Op op)
    {
        S.Rip = RipOf(ref op);
        S.Budget += _current->Count - IndexOf(ref op);
    }

    /// <summary>Instructions retired before this one, exactly.</summary>
    public ulong RetiredBefore(ref Op op) => _retired + (ulong)(_budgetGiven - S.Budget - (_current->Count - IndexOf(ref op)));

    private int IndexOf(ref Op op) => (int)(Unsafe.ByteOffset(ref BlockCache.First(_current), ref op) / sizeof(Op));

    private void RefillBudget()
    {
        _retired += (ulong)(_budgetGiven - S.Budget);
        var clock = Partition.Clock;
        var budget = LongBudget;
        if (clock.IsCounted)
        {
            clock.Advance((long)_retired * clock.NanosecondsPerInstruction + _countedOffset);
            if (clock.NextDeadline != long.MaxValue) budget = Math.Clamp((clock.NextDeadline - clock.Now) / clock.NanosecondsPerInstruction, 0, LongBudget);
        }

        if (_stopAfter >= _retired) budget = (long)Math.Min((ulong)budget, _stopAfter - _retired);
        _budgetGiven = S.Budget = budget;
    }

    // One instruction with the debug checks before and after it. A budget of nothing makes the chain end behind it.
    private void Step()
    {
        _retired += (ulong)(_budgetGiven - S.Budget);
        _budgetGiven = S.Budget = 0;
        if (InstructionBreakpoint()) return;
        SampleTrap();
        _dataHits = 0;
        ref var op = ref FindBlock();
        if (Unsafe.IsNullRef(ref op)) return;
        Execute(ref op);
        if (S.FaultVector < 0) AfterStep();
    }

    /// <summary>Counted time: brings the clock up to an instruction before it reads or drives a device.</summary>
    public void SyncClock(ref Op op)
    {
        var clock = Partition.Clock;
        if (!clock.IsCounted) return;
        clock.Advance((long)RetiredBefore(ref op) * clock.NanosecondsPerInstruction + _countedOffset);
        // A deadline that the instruction sets may be nearer than the budget: look around at the end of this block.
        _retired += (ulong)(_budgetGiven - S.Budget);
        _budgetGiven = S.Budget = -1;
        _budgetGiven = -1;
    }

    // As SyncClock, for accesses that do not know their instruction: as of the current block's start, which every run has alike.
    private void SyncClockAtBlock()
    {
        var clock = Partition.Clock;
        if (!clock.IsCounted || _current == null) return;
        var before = (long)_retired + _budgetGiven - S.Budget - _current->Count;
        if (before > 0) clock.Advance(before * clock.NanosecondsPerInstruction + _countedOffset);
        LeaveChain();
    }

    // In translated mode the chain ends here, so that the run loop finds translated code.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private ref Op Lookup()
    {
        if (Translates) return ref Leave();
        return ref FindBlock();
    }

    /// <summary>Recomputes what is derived from CS, SS, CPL, CR0, CR4, EFER, XCR0, TF, AC and DR7.</summary>
    public void UpdateMode()
    {
        ref var s = ref S;
        ref var cs = ref s.Seg[1];
        var vm86 = (s.SystemFlags & Flags.VM) != 0;
        var isProtected = (s.Cr0 & Cr0Pe) != 0;
        var long64 = (s.Efer & EferLma) != 0 && (cs.Attributes & 0x2000) != 0;
        var mode = long64 ? CpuMode.Code64 : (cs.Attributes & 0x4000) != 0 && !vm86 ? CpuMode.Code32 : CpuMode.Code16;
        if (s.Cpl == 3) mode |= CpuMode.User;
        if ((s.SystemFlags & Flags.TF) != 0 || (s.Dr[7] & 0xFF) != 0) mode |= CpuMode.Step;
        if ((s.Cr0 & (Cr0Em | Cr0Ts)) == 0 && (s.Cr4 & Cr4OsFxsr) != 0) mode |= CpuMode.Sse;
        if ((s.Cr0 & Cr0Ts) == 0 && (s.Cr4 & Cr4OsXsave) != 0 && (s.Xcr0 & 6) == 6 && isProtected && !vm86) mode |= CpuMode.Avx;
        s.Mode = mode;
        if ((mode & CpuMode.Step) != 0) LeaveChain();
        s.CodeLimit = long64 ? ulong.MaxValue : cs.Limit;
        s.StackMask = long64 ? ulong.MaxValue : (s.Seg[2].Attributes & 0x4000) != 0 && !vm86 ? uint.MaxValue : 0xFFFFu;
        UpdateView();
    }

    // Single step is done by the run loop alone: the next Continue returns to it.
    private void LeaveChain()
    {
        _retired += (ulong)(_budgetGiven - S.Budget);
        _budgetGiven = S.Budget = -1;
    }

    /// <summary>Chooses the TLB set that the current privilege sees; cheap enough for STAC and CLAC.</summary>
    public void UpdateView()
    {
        ref var s = ref S;
        var ac = (s.SystemFlags & Flags.AC) != 0;
        var view = s.Cpl == 3 ? Tlb.User : ac ? Tlb.SupervisorAc : Tlb.Supervisor;
        if ((s.Cpl == 3 && ac && (s.Cr0 & Cr0Am) != 0) || DataBreakpointsOn) view = Tlb.Checked;
        _view = view;
        FindEntries();
    }

    private void FindEntries()
    {
        _reads = _tlb.Reads(_view);
        _writes = _tlb.Writes(_view);
    }

    /// <summary>After CR0, CR4, EFER or PKRU changed what addresses mean; INVPCID of everything; or of all that is not global.</summary>
    public void FlushTranslations(bool global)
    {
        if (global)
        {
            _tlb.FlushAll();
            _executor?.Targets.FlushAll();
            _executor?.Translator.UnlinkAll();
        }

        LeaveSpace();
        _spaces.DropAll();
        EnterSpace();
    }

    /// <summary>Another address space becomes current.</summary>
    /// <param name="pcid">Its PCID.</param>
    /// <param name="keep">What was translated in it before still holds.</param>
    public void SwitchSpace(ulong pcid, bool keep)
    {
        LeaveSpace();
        _spaces.Switch(Pcid, pcid, keep);
        EnterSpace();
    }

    /// <summary>INVPCID of one address space.</summary>
    public void FlushSpace(ulong pcid)
    {
        if (pcid != Pcid)
        {
            _spaces.Drop(pcid);
            return;
        }

        LeaveSpace();
        _spaces.DropCurrent();
        EnterSpace();
    }

    private ulong Pcid => (S.Cr4 & Cr4Pcide) != 0 ? S.Cr3 & 0xFFF : 0;

    private void LeaveSpace()
    {
        _tlb.FlushNonGlobal();
        _blocks.ClearJumps();
        _executor?.Targets.FlushNonGlobal();
    }

    private void EnterSpace()
    {
        if (_spaces.IsSpent)
        {
            _tlb.FlushAll();
            _executor?.Targets.FlushAll();
            _spaces.Restart();
        }

        S.Translator.SpaceTag = _spaces.Current << 2;
    }

    /// <summary>INVLPG.</summary>
    public void FlushPage(ulong linear)
    {
        var shift = _tlb.FlushPage(linear);
        _blocks.ClearJumps();
        if (_executor is not { } executor) return;
        executor.Targets.DropPage(linear, shift);
        // The page before may end with an instruction that goes on in this one.
        executor.Targets.DropPage((linear >> shift << shift) - 1, 12);
        if ((long)linear < 0) executor.Translator.Unlink(linear);
    }

    private int _view;
    private readonly Tlb _tlb;
    private readonly AddressSpaces _spaces;
}
