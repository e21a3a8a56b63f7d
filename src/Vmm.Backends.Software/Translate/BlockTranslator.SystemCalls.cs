using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Mmu;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// SYSCALL, SYSRET and IRET between flat 64-bit segments, to code that is known: all is looked at before anything is changed, and what
/// is out of the ordinary the interpreter does from the start.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    private bool EmitSyscall()
    {
        _e.Load32(Rcx, StateLayout.CallsOff);
        EmitInterpretUnlessZero();
        _e.Load(R14, StateLayout.Lstar);
        EmitFindTarget(Tlb.Supervisor);
        _e.Store(StateLayout.Scratch1, R15);

        EmitReadFlags();
        _e.Lea(R14, Rcx, R15, 1, 0);
        _e.Store(Place(R11), R14);
        EmitMask(R15, StateLayout.SyscallMask);
        _e.Store(StateLayout.SystemFlags, R15);
        EmitMask(Rcx, StateLayout.SyscallMask);
        EmitWriteFlags();
        _e.Constant(HostOf(Rcx), _next);
        EmitFlatSegment(1, StateLayout.SyscallCode);
        EmitFlatSegment(2, StateLayout.SyscallStack);
        EmitEnter(user: false);
        return false;
    }

    private bool EmitSysret()
    {
        if (_t.View == Tlb.User) return EmitInterpret();
        _e.Load32(Rcx, StateLayout.CallsOff);
        EmitAddQuiet();
        EmitInterpretUnlessZero();
        _e.Load(R14, Place(R11));
        _e.Extract(Rcx, R14, StateLayout.ModeMask);
        EmitInterpretUnlessZero();
        // Only canonical addresses are ever found.
        _e.Move(R14, HostOf(Rcx));
        EmitFindTarget(Tlb.User);
        _e.Store(StateLayout.Scratch1, R15);

        _e.Load(R14, Place(R11));
        EmitLoadFlags(StateLayout.SysretMask);
        EmitFlatSegment(1, StateLayout.SysretCode);
        EmitFlatSegment(2, StateLayout.SysretStack);
        EmitEnter(user: true);
        return false;
    }

    private bool EmitInterruptReturn()
    {
        if (_t.View != Tlb.Supervisor) return EmitInterpret();
        _e.Load32(Rcx, StateLayout.NmiHeld);
        EmitAddQuiet();
        _e.Load(R15, StateLayout.SystemFlags);
        _e.Extract(R15, R15, StateLayout.NestedMask);
        _e.Lea(Rcx, Rcx, R15, 1, 0);
        EmitInterpretUnlessZero();

        // RIP, CS, flags, RSP and SS lie in one page; where, is kept.
        _e.Move(Linear, s_stack);
        EmitLinear(40, false);
        _e.Lea(R14, R14, R15, 1, 0);
        _e.Store(StateLayout.Scratch0, R14);
        _e.Bytes([0x41, 0x8B, 0x4E, 0x10]); // mov ecx, [r14 + 16]
        _e.Extract(Rcx, Rcx, StateLayout.ModeMask);
        EmitInterpretUnlessZero();
        EmitSelector(8);
        EmitAdd(StateLayout.UserReturn);
        var user = _e.IfZero();
        var kernel = _e.Jump();
        _e.Bind(user);
        EmitReturn(StateLayout.UserReturn, user: true);
        _e.Land(kernel);
        EmitSelector(8);
        EmitAdd(StateLayout.KernelReturn);
        EmitInterpretUnlessZero();
        EmitReturn(StateLayout.KernelReturn, user: false);
        return false;
    }

    // By a record whose code selector is the one of the frame. The data segments that level 3 may not keep must be empty already.
    private void EmitReturn(int record, bool user)
    {
        ReadOnlySpan<int> data = user ? [0, 3, 4, 5] : [];
        foreach (var segment in data)
        {
            _e.Load(Rcx, StateLayout.SegmentRest(segment));
            EmitInterpretUnlessZero();
        }

        EmitDescriptor(record + 16, record + 32);
        _e.Load(R14, StateLayout.Scratch0);
        _e.Bytes([0x4D, 0x8B, 0x36]); // mov r14, [r14]
        EmitFindTarget(user ? Tlb.User : Tlb.Supervisor);
        _e.Store(StateLayout.Scratch1, R15);
        _e.Load(R14, StateLayout.Scratch0);
        EmitSelector(32);
        var none = _e.IfZero();
        var some = _e.Jump();
        _e.Bind(none);
        // Level 0 may have no SS.
        var over = user ? -1 : _e.Jump();
        _e.Land(some);
        EmitAdd(record + 8);
        EmitInterpretUnlessZero();
        EmitDescriptor(record + 24, record + 40);
        _e.Load(Rcx, record + 56);
        if (!user) _e.Land(over);
        _e.Store(StateLayout.SegmentRest(2), Rcx);
        _e.StoreConstant(StateLayout.SegmentBase(2), 0);

        EmitFlatSegment(1, record + 48);
        _e.Load(R14, StateLayout.Scratch0);
        _e.Bytes([0x4D, 0x8B, 0x56, 0x18]); // mov r10, [r14 + 24]: guest RSP
        _e.Bytes([0x4D, 0x8B, 0x76, 0x10]); // mov r14, [r14 + 16]
        EmitLoadFlags(StateLayout.ReturnMask);
        EmitEnter(user);
    }

    // The descriptor in memory must be the one of the record.
    private void EmitDescriptor(int address, int negated)
    {
        _e.Load(Linear, address);
        EmitLinear(8, false);
        EmitLoadFound(Rcx);
        EmitAdd(negated);
        EmitInterpretUnlessZero();
    }

    // A selector of the frame at R14 into RCX.
    private void EmitSelector(byte offset) => _e.Bytes([0x41, 0x0F, 0xB7, 0x4E, offset]); // movzx ecx, word [r14 + offset]

    private void EmitAdd(int place)
    {
        _e.Load(R15, place);
        _e.Lea(Rcx, Rcx, R15, 1, 0);
    }

    // RCX and whatever else must be zero at a return: it is one from level 0, and no interrupt waits for IF.
    private void EmitAddQuiet()
    {
        _e.Load32(R15, StateLayout.Cpl);
        _e.Lea(Rcx, Rcx, R15, 1, 0);
        _e.Load32(R15, StateLayout.HeldBack);
        _e.Lea(Rcx, Rcx, R15, 1, 0);
    }

    // All flags from R14, of those that are not arithmetic what a mask names.
    private void EmitLoadFlags(int mask)
    {
        _e.Extract(Rcx, R14, mask);
        _e.Deposit(Rcx, Rcx, mask);
        _e.Lea(Rcx, Rcx, -1, 1, 2);
        _e.Store(StateLayout.SystemFlags, Rcx);
        _e.Move(Rcx, R14);
        EmitWriteFlags();
    }

    // The arithmetic flags from RCX, which is lost. What the state has for RAX is of no use meanwhile.
    private void EmitWriteFlags()
    {
        _e.Store(Place(Rax), Rax);
        _e.Bytes([0x89, 0xC8, 0xC1, 0xE9, 0x0B, 0x83, 0xE1, 0x01, 0x80, 0xC1, 0x7F]); // mov eax, ecx; shr ecx, 11; and ecx, 1; add cl, 127
        _e.Bytes([0x88, 0xC4, 0x9E]); // mov ah, al; sahf
        _e.Load(Rax, Place(Rax));
    }

    private void EmitFlatSegment(int segment, int from)
    {
        _e.StoreConstant(StateLayout.SegmentBase(segment), 0);
        _e.Load(Rcx, from);
        _e.Store(StateLayout.SegmentRest(segment), Rcx);
    }

    // On to the code that was found, with another privilege.
    private void EmitEnter(bool user)
    {
        _e.StoreConstant32(StateLayout.Cpl, user ? 3 : 0);
        _e.StoreConstant32(StateLayout.Mode, (int)(_mode & ~CpuMode.User | (user ? CpuMode.User : 0)));
        _e.JumpPlace(StateLayout.Scratch1);
    }
}
