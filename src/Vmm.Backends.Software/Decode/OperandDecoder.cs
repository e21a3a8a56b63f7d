using Iced.Intel;
using Vmm.Backends.Software.Cpu;

namespace Vmm.Backends.Software.Decode;

/// <summary>Turns the operands of an Iced instruction into the compact form of an <see cref="Op"/>; the handler is bound afterwards.</summary>
internal static class OperandDecoder
{
    /// <summary>Fills everything but <see cref="Op.Handler"/>. The decoder's IP was zero at the block's first byte.</summary>
    public static void Fill(in Instruction instruction, uint mode, ref Op op)
    {
        op = default;
        op.Base = op.Index = Vcpu.ZeroSlot;
        op.Length = (byte)instruction.Length;
        op.Offset = (ushort)instruction.IP;
        op.Segment = 3;
        if (instruction.HasLockPrefix) op.Flags |= OpFlags.Lock;
        if (instruction.HasRepPrefix) op.Flags |= OpFlags.Rep;
        if (instruction.HasRepnePrefix) op.Flags |= OpFlags.Repne;
        op.Flags |= (mode & CpuMode.CodeMask) switch { CpuMode.Code16 => OpFlags.Address16, CpuMode.Code32 => OpFlags.Address32, _ => OpFlags.Address64 };
        var registers = 0;
        for (var i = 0; i < instruction.OpCount; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.Register:
                    var number = Number(instruction.GetOpRegister(i));
                    switch (registers++)
                    {
                        case 0: op.A = number; break;
                        case 1: op.B = number; break;
                        case 2: op.C = number; break;
                        default: op.D = number; break;
                    }

                    break;
                case OpKind.Memory:
                    FillMemory(instruction, mode, ref op);
                    break;
                case OpKind.Immediate8: op.Imm = instruction.Immediate8; break;
                case OpKind.Immediate8_2nd: op.Imm |= (ulong)instruction.Immediate8_2nd << 16; break;
                case OpKind.Immediate16: op.Imm = instruction.Immediate16; break;
                case OpKind.Immediate32: op.Imm = instruction.Immediate32; break;
                case OpKind.Immediate64: op.Imm = instruction.Immediate64; break;
                case OpKind.Immediate8to16: op.Imm = (ulong)instruction.Immediate8to16; break;
                case OpKind.Immediate8to32: op.Imm = (ulong)instruction.Immediate8to32; break;
                case OpKind.Immediate8to64: op.Imm = (ulong)instruction.Immediate8to64; break;
                case OpKind.Immediate32to64: op.Imm = (ulong)instruction.Immediate32to64; break;
                case OpKind.NearBranch16: op.Imm = instruction.NearBranch16; break;
                case OpKind.NearBranch32: op.Imm = instruction.NearBranch32; break;
                case OpKind.NearBranch64: op.Imm = instruction.NearBranch64; break;
                case OpKind.FarBranch16:
                    (op.Imm, op.Extra) = (instruction.FarBranch16, instruction.FarBranchSelector);
                    break;
                case OpKind.FarBranch32:
                    (op.Imm, op.Extra) = (instruction.FarBranch32, instruction.FarBranchSelector);
                    break;
                case OpKind.MemorySegSI or OpKind.MemorySegDI or OpKind.MemoryESDI:
                    Implicit(instruction, OpFlags.Address16, i, ref op);
                    break;
                case OpKind.MemorySegESI or OpKind.MemorySegEDI or OpKind.MemoryESEDI:
                    Implicit(instruction, OpFlags.Address32, i, ref op);
                    break;
                case OpKind.MemorySegRSI or OpKind.MemorySegRDI or OpKind.MemoryESRDI:
                    Implicit(instruction, OpFlags.Address64, i, ref op);
                    break;
            }
        }

        op.Size = OperandSize(instruction);
    }

    /// <summary>The byte offset of a general register, or the number of any other.</summary>
    public static byte Number(Register register) => register switch
    {
        >= Register.AL and <= Register.BL => (byte)((register - Register.AL) * 8),
        >= Register.AH and <= Register.BH => (byte)((register - Register.AH) * 8 + 1),
        >= Register.SPL and <= Register.R15L => (byte)((register - Register.SPL + 4) * 8),
        >= Register.AX and <= Register.R15W => (byte)((register - Register.AX) * 8),
        >= Register.EAX and <= Register.R15D => (byte)((register - Register.EAX) * 8),
        >= Register.RAX and <= Register.R15 => (byte)((register - Register.RAX) * 8),
        Register.EIP or Register.RIP => Vcpu.RipSlot,
        >= Register.ES and <= Register.GS => (byte)(register - Register.ES),
        >= Register.XMM0 and <= Register.XMM15 => (byte)(register - Register.XMM0),
        >= Register.YMM0 and <= Register.YMM15 => (byte)(register - Register.YMM0),
        >= Register.MM0 and <= Register.MM7 => (byte)(register - Register.MM0),
        >= Register.ST0 and <= Register.ST7 => (byte)(register - Register.ST0),
        >= Register.CR0 and <= Register.CR15 => (byte)(register - Register.CR0),
        >= Register.DR0 and <= Register.DR15 => (byte)(register - Register.DR0),
        _ => Vcpu.ZeroSlot,
    };

    private static void FillMemory(in Instruction instruction, uint mode, ref Op op)
    {
        var (first, index) = (instruction.MemoryBase, instruction.MemoryIndex);
        var wide = first != Register.None ? first.GetSize() : index != Register.None && !index.IsXMM() && !index.IsYMM() ? index.GetSize() : instruction.MemoryDisplSize;
        if (first != Register.None) op.Base = Number(first);
        if (index != Register.None) op.Index = Number(index);
        op.Scale = (byte)System.Numerics.BitOperations.Log2((uint)instruction.MemoryIndexScale);
        op.Disp = instruction.MemoryDisplacement64;
        var segment = instruction.MemorySegment;
        op.Segment = Number(segment);
        op.Flags &= ~(OpFlags.Address16 | OpFlags.Address32 | OpFlags.Address64);
        if ((mode & CpuMode.CodeMask) == CpuMode.Code64)
        {
            var based = segment is Register.FS or Register.GS;
            if (!based) op.Segment = first is Register.RSP or Register.RBP or Register.ESP or Register.EBP ? (byte)2 : (byte)3;
            var narrow = wide == 4 || first == Register.EIP;
            op.Address = narrow ? AddressKind.Truncated64 : based ? AddressKind.Based64 : AddressKind.Flat64;
            op.Flags |= narrow ? OpFlags.Address32 : OpFlags.Address64;
        }
        else
        {
            op.Address = wide == 2 ? AddressKind.Segmented16 : AddressKind.Segmented32;
            op.Flags |= wide == 2 ? OpFlags.Address16 : OpFlags.Address32;
        }
    }

    private static void Implicit(in Instruction instruction, OpFlags size, int operand, ref Op op)
    {
        op.Flags = (op.Flags & ~(OpFlags.Address16 | OpFlags.Address32 | OpFlags.Address64)) | size;
        if (instruction.GetOpKind(operand) is OpKind.MemorySegSI or OpKind.MemorySegESI or OpKind.MemorySegRSI or OpKind.MemorySegDI or OpKind.MemorySegEDI or OpKind.MemorySegRDI)
        {
            op.Segment = Number(instruction.MemorySegment);
        }
    }

    private static byte OperandSize(in Instruction instruction)
    {
        for (var i = 0; i < instruction.OpCount; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.Register:
                    var register = instruction.GetOpRegister(i);
                    if (register.IsGPR() || register.IsXMM() || register.IsYMM()) return (byte)register.GetSize();
                    break;
                case OpKind.Memory or OpKind.MemorySegSI or OpKind.MemorySegESI or OpKind.MemorySegRSI or OpKind.MemoryESDI or OpKind.MemoryESEDI or OpKind.MemoryESRDI:
                    return (byte)Math.Min(instruction.MemorySize.GetSize(), 255);
            }
        }

        return (byte)Math.Min(instruction.MemorySize.GetSize(), 255);
    }
}
