using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>Gives Iced the register values of an <see cref="OracleState"/> to compute addresses from. Segment bases are 0.</summary>
internal sealed class RegisterProvider(OracleCase subject) : IVATryGetRegisterValueProvider
{
    public ulong Get(Register register, int elementIndex, int elementSize) =>
        TryGetRegisterValue(register, elementIndex, elementSize, out ulong value) ? value : 0;

    public bool TryGetRegisterValue(Register register, int elementIndex, int elementSize, out ulong value)
    {
        value = 0;
        if (register.IsSegmentRegister())
        {
            return true;
        }

        if (register == Register.RIP)
        {
            value = subject.Instruction.NextIP;
            return true;
        }

        if (register.IsGPR())
        {
            ulong full = subject.State.Gpr[register.GetFullRegister() - Register.RAX];
            value = register.GetSize() switch
            {
                8 => full,
                4 => (uint)full,
                2 => (ushort)full,
                _ => register is >= Register.AH and <= Register.BH ? (byte)(full >> 8) : (byte)full,
            };
            return true;
        }

        if (register.IsVectorRegister())
        {
            Vector256<byte> vector = subject.State.Fpu.Ymm(register.GetNumber());
            ReadOnlySpan<byte> lane = MemoryMarshal.AsBytes(new ReadOnlySpan<Vector256<byte>>(in vector)).Slice(elementIndex * elementSize, elementSize);
            value = elementSize == 4 ? (ulong)BinaryPrimitives.ReadInt32LittleEndian(lane) : BinaryPrimitives.ReadUInt64LittleEndian(lane);
            return true;
        }

        return false;
    }
}
