using Iced.Intel;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>PUSH, POP, LEAVE and LEA: RSP moves after the access, so that a fault finds it as it was.</summary>
internal sealed unsafe partial class BlockTranslator
{
    private static readonly int s_stack = HostOf(Rsp);

    private bool TryEmitStack(in Instruction instruction)
    {
        switch (instruction.Code)
        {
            case Code.Push_r64:
                EmitStack(-8, true);
                EmitStoreFound(Resident(Number(instruction.Op0Register), Rcx));
                break;
            case Code.Pushq_imm8 or Code.Pushq_imm32:
                EmitStack(-8, true);
                EmitStoreFoundConstant(instruction.GetImmediate(0));
                break;
            case Code.Push_rm64 when instruction.Op0Kind == OpKind.Memory:
                EmitOperand(instruction, 8, false);
                EmitLoadFound(Rcx);
                _e.Store(StateLayout.Scratch0, Rcx);
                EmitStack(-8, true, 1);
                _e.Load(Rcx, StateLayout.Scratch0);
                EmitStoreFound(Rcx);
                break;
            case Code.Pop_r64:
                EmitStack(0, false);
                EmitPopInto(Number(instruction.Op0Register));
                return true;
            case Code.Leaveq:
                EmitCheck(HostOf(Rbp), 0, 0, 8, false);
                _e.Lea(s_stack, HostOf(Rbp), -1, 1, 8);
                EmitLoadFound(HostOf(Rbp));
                return true;
            case Code.Lea_r64_m or Code.Lea_r32_m:
                EmitLea(instruction);
                return true;
            default:
                return false;
        }

        _e.Lea(s_stack, s_stack, -1, 1, -8);
        return true;
    }

    private void EmitPopInto(int guest)
    {
        var host = HostOf(guest);
        EmitLoadFound(host < 0 ? Rcx : host);
        if (host != s_stack) _e.Lea(s_stack, s_stack, -1, 1, 8);
        if (host < 0) _e.Store(Place(guest), Rcx);
    }

    private void EmitLea(in Instruction instruction)
    {
        var guest = Number(instruction.Op0Register);
        var host = HostOf(guest);
        var to = host < 0 ? Linear : host;
        var wide = instruction.Op0Register.GetSize() == 8;
        if (instruction.MemoryBase is Register.RIP or Register.EIP || (instruction.MemoryBase == Register.None && instruction.MemoryIndex == Register.None))
        {
            // Of fewer than 64 bits, in the address or in the result, the upper half is clear.
            var address = instruction.MemoryBase is Register.RIP or Register.EIP ? instruction.IPRelativeMemoryAddress : instruction.MemoryDisplacement64;
            _e.Constant(to, wide && IsWide(instruction) ? address : (uint)address);
        }
        else
        {
            // An address of 32 bits is cut as a result of 32 bits is.
            var i = Resident(Number(instruction.MemoryIndex), R15);
            var b = Resident(Number(instruction.MemoryBase), i == R14 ? R15 : R14);
            _e.Lea(to, b, i, instruction.MemoryIndexScale, (int)instruction.MemoryDisplacement64, wide && IsWide(instruction));
        }

        if (host >= 0) return;
        _e.Store(Place(guest), Linear);
        _e.Renew(guest);
        _e.Hold(Linear, guest);
    }
}
