using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// What kernels do at every entry and lock, and reads of what the state holds. What is for privilege 0 only runs here with that; elsewhere
/// the interpreter decides.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    private bool EmitSystem(in Instruction instruction, ref Op op)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Pushfq:
                EmitPushFlags();
                return true;
            case Mnemonic.Stac or Mnemonic.Clac:
                return EmitAccessFlag(instruction.Mnemonic == Mnemonic.Stac);
            case Mnemonic.Cld or Mnemonic.Std:
                EmitSystemFlag(StateLayout.DirectionMask, instruction.Mnemonic == Mnemonic.Std ? (int)Flags.DF : 0);
                return true;
            case Mnemonic.Rdfsbase or Mnemonic.Rdgsbase or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase:
                EmitBase(instruction);
                return true;
            case Mnemonic.Mov when instruction.Op1Register.IsSegmentRegister():
                EmitStoreSelector(instruction);
                return true;
            case Mnemonic.Rdtsc:
                EmitTime(ref op);
                return true;
            case Mnemonic.Syscall: return EmitSyscall();
            case Mnemonic.Sysretq: return EmitSysret();
            case Mnemonic.Iretq: return EmitInterruptReturn();
        }

        if (_t.View == Tlb.User) return EmitOperation(ref op);
        _e.Load32(Rcx, StateLayout.Cpl);
        if (instruction.Mnemonic == Mnemonic.Sti)
        {
            // An interrupt that was held back is looked for in C#.
            _e.Load32(R15, StateLayout.HeldBack);
            _e.Lea(Rcx, Rcx, R15, 1, 0);
        }

        var simple = _e.IfZero();
        EmitOperation(ref op);
        var over = _e.Jump();
        _e.Bind(simple);
        if (instruction.Mnemonic == Mnemonic.Mov)
        {
            _e.Load(Rcx, instruction.Op1Register switch { Register.CR0 => StateLayout.Cr0, Register.CR2 => StateLayout.Cr2, Register.CR3 => StateLayout.Cr3, _ => StateLayout.Cr4 });
            StoreGuest(Number(instruction.Op0Register), Rcx);
        }
        else if (instruction.Mnemonic == Mnemonic.Swapgs)
        {
            _e.Load(R14, StateLayout.SegmentBase(5));
            _e.Load(R15, StateLayout.KernelGsBase);
            _e.Store(StateLayout.SegmentBase(5), R15);
            _e.Store(StateLayout.KernelGsBase, R14);
        }
        else
        {
            EmitSystemFlag(StateLayout.InterruptMask, instruction.Mnemonic == Mnemonic.Sti ? (int)Flags.IF : 0);
        }

        _e.Land(over);
        return true;
    }

    // The interpreter does the last instruction. If that may change what an address means, but not how code is run, what follows is looked for here.
    private bool EmitLast(in Instruction instruction, ref Op op)
    {
        if (instruction.Mnemonic is not (Mnemonic.Invlpg or Mnemonic.Invpcid or Mnemonic.Xrstor or Mnemonic.Xrstor64 or Mnemonic.Wrmsr or Mnemonic.Cpuid)
            && !(instruction.Code == Code.Mov_cr_r64 && instruction.Op0Register == Register.CR3)) return EmitInterpret();
        EmitOperation(ref op);
        // Most of them serialize: code that was written by others before is not run behind them. So it looks for events, as a backward branch does.
        EmitLookup(_next, _t.View, true);
        return false;
    }

    // AC chooses the TLB set of supervisor code, so what follows is translated for that.
    private bool EmitAccessFlag(bool set)
    {
        if (_t.View == Tlb.User) return EmitInterpret();
        _e.Load32(Rcx, StateLayout.Cpl);
        var kernel = _e.IfZero();
        EmitInterpret();
        _e.Bind(kernel);
        EmitSystemFlag(StateLayout.AccessMask, set ? (int)Flags.AC : 0);
        EmitLink(_next, set ? Tlb.SupervisorAc : Tlb.Supervisor);
        return false;
    }

    // Clears a bit, and sets it again if wanted, without touching the host's flags.
    private void EmitSystemFlag(int mask, int bit)
    {
        _e.Load(Rcx, StateLayout.SystemFlags);
        EmitMask(Rcx, mask);
        if (bit != 0) _e.Lea(Rcx, Rcx, -1, 1, bit);
        _e.Store(StateLayout.SystemFlags, Rcx);
    }

    private void EmitStoreSelector(in Instruction instruction)
    {
        var place = StateLayout.Selector(OperandDecoder.Number(instruction.Op1Register));
        if (instruction.Op0Kind == OpKind.Register)
        {
            var guest = Number(instruction.Op0Register);
            _e.Load16(Rcx, place);
            if (instruction.Op0Register.GetSize() != 2) StoreGuest(guest, Rcx);
            else if (HostOf(guest) < 0) _e.Store16(Place(guest), Rcx);
            else _e.Move16(HostOf(guest), Rcx);
            return;
        }

        EmitAddress(instruction, Segment(instruction));
        EmitLinear(2, true);
        _e.Load16(Rcx, place);
        _e.Bytes([0x66, 0x43, 0x89, 0x0C, 0x3E]); // mov [r14 + r15], cx
    }

    // By a short call, which leaves vector registers in the state.
    private void EmitTime(ref Op op)
    {
        _e.Load(Rcx, StateLayout.Cr4);
        _e.Extract(Rcx, Rcx, StateLayout.TimeMask);
        EmitInterpretUnlessZero();
        if (_vectors)
        {
            EmitOperation(ref op);
            return;
        }

        _e.Load32(Rcx, StateLayout.X87Dead);
        _e.Lea(Rcx, Rcx, -1, 1, -1);
        var simple = _e.IfZero();
        EmitOperation(ref op);
        var over = _e.Jump();
        _e.Bind(simple);
        _e.Call(_stubs.Time);
        _e.Land(over);
    }

    // RDFSBASE and its like, where CR4 allows them and addresses have 48 bits.
    private void EmitBase(in Instruction instruction)
    {
        _e.Load(Rcx, StateLayout.Cr4);
        _e.Extract(Rcx, Rcx, StateLayout.BasesMask);
        _e.Lea(Rcx, Rcx, -1, 1, -2);
        EmitInterpretUnlessZero();
        var place = StateLayout.SegmentBase(instruction.Mnemonic is Mnemonic.Rdfsbase or Mnemonic.Wrfsbase ? 4 : 5);
        var wide = instruction.Op0Register.GetSize() == 8;
        var guest = Number(instruction.Op0Register);
        if (instruction.Mnemonic is Mnemonic.Rdfsbase or Mnemonic.Rdgsbase)
        {
            if (wide) _e.Load(Rcx, place);
            else _e.Load32(Rcx, place);
            StoreGuest(guest, Rcx);
            return;
        }

        _e.Lea(R14, Resident(guest, R14), -1, 1, 0, wide);
        if (wide)
        {
            // All ones and a one more are nothing, and nothing and a one are the bit that is not looked at.
            _e.Extract(Rcx, R14, StateLayout.CanonicalMask);
            _e.Lea(Rcx, Rcx, -1, 1, 1);
            _e.Extract(Rcx, Rcx, StateLayout.AlikeMask);
            EmitInterpretUnlessZero();
        }

        _e.Store(place, R14);
    }

    // The interpreter goes on here unless RCX is zero.
    private void EmitInterpretUnlessZero()
    {
        var zero = _e.IfZero();
        _exits.Add((_e.Jump(), _sites.Add(new Site { Translation = _t, Index = _index }), _stubs.Interpret));
        _e.Bind(zero);
    }

    // Of a register those bits that a mask names.
    private void EmitMask(int register, int mask)
    {
        _e.Extract(register, register, mask);
        _e.Deposit(register, register, mask);
    }

    // The arithmetic flags into RCX, the others as PUSHF shows them into R15.
    private void EmitReadFlags()
    {
        _e.Bytes([0x9C, 0x59]); // pushfq; pop rcx
        EmitMask(Rcx, StateLayout.ArithmeticMask);
        _e.Load(R15, StateLayout.SystemFlags);
        EmitMask(R15, StateLayout.PushedMask);
    }

    private void EmitPushFlags()
    {
        EmitReadFlags();
        _e.Lea(Rcx, Rcx, R15, 1, 0);
        _e.Store(StateLayout.Scratch0, Rcx);
        EmitStack(-8, true);
        _e.Load(Rcx, StateLayout.Scratch0);
        EmitStoreFound(Rcx);
        _e.Lea(s_stack, s_stack, -1, 1, -8);
    }
}
