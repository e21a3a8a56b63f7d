using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// CLI, STI, SWAPGS, STAC, CLAC and PUSHF: what kernels do at every entry and lock. All but PUSHF run here at privilege 0 only; elsewhere
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
        if (instruction.Mnemonic == Mnemonic.Swapgs)
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
        _e.Extract(Rcx, Rcx, mask);
        _e.Deposit(Rcx, Rcx, mask);
        if (bit != 0) _e.Lea(Rcx, Rcx, -1, 1, bit);
        _e.Store(StateLayout.SystemFlags, Rcx);
    }

    private void EmitPushFlags()
    {
        _e.Bytes([0x9C, 0x59]); // pushfq; pop rcx
        _e.Extract(Rcx, Rcx, StateLayout.ArithmeticMask);
        _e.Deposit(Rcx, Rcx, StateLayout.ArithmeticMask);
        _e.Load(R15, StateLayout.SystemFlags);
        _e.Extract(R15, R15, StateLayout.PushedMask);
        _e.Deposit(R15, R15, StateLayout.PushedMask);
        _e.Lea(Rcx, Rcx, R15, 1, 0);
        _e.Store(StateLayout.Scratch0, Rcx);
        EmitPushCheck();
        _e.Load(Rcx, StateLayout.Scratch0);
        EmitStoreFound(Rcx);
        _e.Lea(s_stack, s_stack, -1, 1, -8);
    }
}
