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
                EmitPushCheck();
                EmitStoreFound(Resident(Number(instruction.Op0Register), Rcx));
                break;
            case Code.Pushq_imm8 or Code.Pushq_imm32:
                EmitPushCheck();
                EmitStoreFoundConstant(instruction.GetImmediate(0));
                break;
            case Code.Push_rm64 when instruction.Op0Kind == OpKind.Memory:
                EmitAddress(instruction);
                EmitCheck(8, false);
                EmitLoadFound(Rcx);
                _e.Store(StateLayout.Scratch0, Rcx);
                EmitPushCheck();
                _e.Load(Rcx, StateLayout.Scratch0);
                EmitStoreFound(Rcx);
                break;
            case Code.Pop_r64:
                _e.Move(Linear, s_stack);
                EmitCheck(8, false);
                _e.Lea(s_stack, s_stack, -1, 1, 8);
                EmitPopInto(Number(instruction.Op0Register));
                return true;
            case Code.Leaveq:
                _e.Move(Linear, HostOf(Rbp));
                EmitCheck(8, false);
                _e.Lea(s_stack, HostOf(Rbp), -1, 1, 8);
                EmitLoadFound(HostOf(Rbp));
                return true;
            case Code.Lea_r64_m or Code.Lea_r32_m:
                return TryEmitLea(instruction);
            default:
                return false;
        }

        _e.Lea(s_stack, s_stack, -1, 1, -8);
        return true;
    }

    private void EmitPushCheck()
    {
        _e.Lea(Linear, s_stack, -1, 1, -8);
        EmitCheck(8, true);
    }

    private void EmitPopInto(int guest)
    {
        var host = HostOf(guest);
        EmitLoadFound(host < 0 ? Rcx : host);
        if (host < 0) _e.Store(Place(guest), Rcx);
    }

    private bool TryEmitLea(in Instruction instruction)
    {
        EmitAddress(instruction, segments: false);
        var guest = Number(instruction.Op0Register);
        var host = HostOf(guest);
        // A 32-bit result clears the upper half: an address of 32 bits has done so, a wide one is cut by the move.
        if (instruction.Op0Register.GetSize() == 4) _e.Lea(Linear, Linear, -1, 1, 0, wide: false);
        if (host < 0) _e.Store(Place(guest), Linear);
        else _e.Move(host, Linear);
        return true;
    }
}
