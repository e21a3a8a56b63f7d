using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

public sealed partial class InstructionGenerator
{
    /// <summary>Fills memory operands and gives some instructions the operands without which they mostly fault or do nothing.</summary>
    private void PrepareOperands()
    {
        Instruction instruction = _case.Instruction;
        LaneKind hint = CodeTraits.Of(instruction.Code).Lanes;
        foreach (UsedMemory memory in _infoFactory.GetInfo(instruction).GetUsedMemory())
        {
            if (memory.TryGetVirtualAddress(0, _registers, out ulong address))
            {
                int size = memory.MemorySize.GetSize();
                Span<byte> place = At(address, size == 0 ? 64 : size);
                BiasedValues.Fill(ref _random, StateGenerator.AnyKind(ref _random, hint), place);
            }
        }

        PrepareByMnemonic(instruction);
        PrepareBranch(instruction);
    }

    private void PrepareByMnemonic(in Instruction instruction)
    {
        ref GprFile gpr = ref _case.State.Gpr;
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Div or Mnemonic.Idiv when _random.Percent(70):
                PrepareDivide(instruction);
                break;
            case Mnemonic.Cmpxchg or Mnemonic.Cmpxchg8b or Mnemonic.Cmpxchg16b when _random.Percent(50):
                PrepareCompareExchange(instruction);
                break;
            case Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq when instruction.IsStringInstruction && _random.Percent(70):
                Array.Fill(_case.Data, (byte)_random.Next());
                _case.Data[_random.Below(_case.Data.Length)] ^= 1;
                break;
            case Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq when _random.Percent(70):
                PrepareScan();
                break;
            case Mnemonic.Pcmpestri or Mnemonic.Pcmpestrm or Mnemonic.Vpcmpestri or Mnemonic.Vpcmpestrm
                or Mnemonic.Pcmpestri64 or Mnemonic.Pcmpestrm64 or Mnemonic.Vpcmpestri64 or Mnemonic.Vpcmpestrm64 when _random.Percent(80):
                gpr[GprFile.Rax] = (ulong)_random.Between(-18, 18);
                gpr[GprFile.Rdx] = (ulong)_random.Between(-18, 18);
                break;
            case Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr:
                var image = XsaveImage.PowerOn;
                StateGenerator.FillMxcsr(ref _random, ref image);
                WriteOperand(image.Mxcsr | (_random.Percent(10) ? 1u << _random.Pick<int>([16, 18, 24, 31]) : 0), 4);
                break;
            case Mnemonic.Fldcw:
                WriteOperand((_random.Next() & 0xFCFF) | _random.Pick<ulong>([0, 0x200, 0x300]), 2);
                break;
            case Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq:
                // Neither single-stepping nor alignment checks shall begin.
                ClearByteBits(gpr[GprFile.Rsp] + 1, 1);
                ClearByteBits(gpr[GprFile.Rsp] + 2, 4);
                break;
            case Mnemonic.Fldenv or Mnemonic.Frstor:
                PrepareX87Environment();
                break;
            case Mnemonic.Fxrstor or Mnemonic.Fxrstor64 or Mnemonic.Xrstor or Mnemonic.Xrstor64 or Mnemonic.Fxsave or Mnemonic.Fxsave64
                or Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64:
                PrepareStateImage();
                break;
        }
    }

    private void PrepareBitOffset(in Instruction instruction)
    {
        if (instruction.Mnemonic is not (Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc) || instruction.Op0Kind != OpKind.Memory
            || instruction.Op1Kind != OpKind.Register || instruction.Op1Register.GetSize() < 4)
        {
            return;
        }

        int bits = _random.Percent(50) ? _random.Below(64) : _random.Between(-20_000, 20_000);
        SetAddressRegister(instruction.Op1Register, (ulong)bits, instruction.Op1Register.GetSize() == 4);
    }

    /// <summary>A bit offset register that is also an address register would lead anywhere.</summary>
    private static bool SharesBitOffset(in Instruction instruction) =>
        instruction.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc && instruction.Op0Kind == OpKind.Memory
        && instruction.Op1Kind == OpKind.Register && instruction.Op1Register.GetSize() >= 4
        && (instruction.Op1Register.GetFullRegister() == instruction.MemoryBase.GetFullRegister()
            || instruction.Op1Register.GetFullRegister() == instruction.MemoryIndex.GetFullRegister());

    private void PrepareVectorIndex(Register index)
    {
        Vector256<byte> value = default;
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<Vector256<byte>>(ref value));
        bool quad = _case.Instruction.IsVsib64;
        for (int i = 0; i < 32; i += quad ? 8 : 4)
        {
            int lane = _random.Percent(3) ? _random.Between(-30_000, 30_000) : _random.Between(-100, 100);
            if (quad)
            {
                BinaryPrimitives.WriteInt64LittleEndian(bytes[i..], lane);
            }
            else
            {
                BinaryPrimitives.WriteInt32LittleEndian(bytes[i..], lane);
            }
        }

        _case.State.Fpu.SetYmm(index.GetNumber(), value);
    }

    private void PrepareDivide(in Instruction instruction)
    {
        ref GprFile gpr = ref _case.State.Gpr;
        bool signed = instruction.Mnemonic == Mnemonic.Idiv;
        switch (instruction.Op0Kind == OpKind.Register ? instruction.Op0Register.GetSize() : instruction.MemorySize.GetSize())
        {
            case 1:
                ulong half = BiasedValues.Integer(ref _random, 8);
                ulong ax = signed ? half << 56 >> 63 == 0 ? half : half | 0xFF00 : half * (ulong)_random.Between(1, 3);
                gpr[GprFile.Rax] = (gpr[GprFile.Rax] & ~0xFFFFUL) | (ax & 0xFFFF);
                break;
            case 2:
                Extend(ref gpr, 16, signed);
                break;
            case 4:
                Extend(ref gpr, 32, signed);
                break;
            default:
                gpr[GprFile.Rdx] = signed ? (ulong)((long)gpr[GprFile.Rax] >> 63) : (ulong)_random.Below(3);
                break;
        }
    }

    private void Extend(ref GprFile gpr, int bits, bool signed)
    {
        ulong mask = (1UL << bits) - 1, sign = (gpr[GprFile.Rax] >> (bits - 1)) & 1;
        ulong high = signed ? 0 - sign : (ulong)_random.Below(3);
        gpr[GprFile.Rdx] = (gpr[GprFile.Rdx] & ~mask) | (high & mask);
    }

    private void PrepareCompareExchange(in Instruction instruction)
    {
        ref GprFile gpr = ref _case.State.Gpr;
        if (instruction.Op0Kind == OpKind.Register)
        {
            int register = instruction.Op0Register.GetFullRegister() - Register.RAX;
            gpr[register] = instruction.Op0Register is >= Register.AH and <= Register.BH ? gpr[GprFile.Rax] << 8 | gpr[register] & 0xFF : gpr[GprFile.Rax];
            return;
        }

        if (!TryOperandAddress(out ulong address))
        {
            return;
        }

        Span<byte> old = stackalloc byte[16];
        if (instruction.Mnemonic == Mnemonic.Cmpxchg8b)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(old, (uint)gpr[GprFile.Rax]);
            BinaryPrimitives.WriteUInt32LittleEndian(old[4..], (uint)gpr[GprFile.Rdx]);
        }
        else
        {
            BinaryPrimitives.WriteUInt64LittleEndian(old, gpr[GprFile.Rax]);
            BinaryPrimitives.WriteUInt64LittleEndian(old[8..], gpr[GprFile.Rdx]);
        }

        Write(address, old[..instruction.MemorySize.GetSize()]);
    }

    private void PrepareScan()
    {
        Span<byte> needle = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(needle, _case.State.Gpr[GprFile.Rax]);
        if (_random.Percent(50))
        {
            needle.Fill(needle[0]);
            _case.State.Gpr[GprFile.Rax] = BinaryPrimitives.ReadUInt64LittleEndian(needle);
        }

        int phase = (int)(_case.State.Gpr[GprFile.Rdi] & 7);
        for (int i = 0; i < _case.Data.Length; i++)
        {
            _case.Data[i] = needle[(i - phase) & 7];
        }

        _case.Data[_random.Below(_case.Data.Length)] ^= 0x10;
    }

    private void PrepareX87Environment()
    {
        if (!TryOperandAddress(out ulong address))
        {
            return;
        }

        var image = XsaveImage.PowerOn;
        StateGenerator.FillX87(ref _random, ref image);
        bool wide = _case.Instruction.MemorySize is MemorySize.FpuEnv28 or MemorySize.FpuState108;
        int step = wide ? 4 : 2;
        Span<byte> environment = stackalloc byte[28 + 80];
        BiasedValues.Fill(ref _random, LaneKind.Random, environment[..(7 * step)]);
        BinaryPrimitives.WriteUInt16LittleEndian(environment, image.Fcw);
        BinaryPrimitives.WriteUInt16LittleEndian(environment[step..], image.Fsw);
        BinaryPrimitives.WriteUInt16LittleEndian(environment[(2 * step)..], (ushort)_random.Next());
        BiasedValues.Fill(ref _random, LaneKind.Float80, environment[(7 * step)..]);
        Write(address, environment[.._case.Instruction.MemorySize.GetSize()]);
    }

    private void PrepareStateImage()
    {
        _case.State.Gpr[GprFile.Rax] = (ulong)_random.Below(8);
        _case.State.Gpr[GprFile.Rdx] = 0;
        if (!TryOperandAddress(out ulong address))
        {
            return;
        }

        var image = XsaveImage.PowerOn;
        StateGenerator.FillX87(ref _random, ref image);
        StateGenerator.FillMxcsr(ref _random, ref image);
        for (int i = 0; i < 16; i++)
        {
            image.SetYmm(i, Vector256.Create(_random.Next(), _random.Next(), _random.Next(), _random.Next()).AsByte());
        }

        image.Components = (ulong)_random.Below(8);
        Span<byte> bytes = image;
        if (_random.Percent(8))
        {
            image.Mxcsr |= 1u << _random.Pick<int>([16, 18, 31]);
        }

        if (_random.Percent(8))
        {
            // Reserved header bytes must be zero.
            bytes[_random.Between(512 + 16, 512 + 63)] = 1;
        }

        Write(address, bytes);
    }

    private void PrepareBranch(in Instruction instruction)
    {
        ref OracleState state = ref _case.State;
        ulong target = AnyTarget(instruction.IP);
        switch (instruction.FlowControl)
        {
            case FlowControl.Return:
                PatchQword(state.Gpr[GprFile.Rsp], _ => target);
                break;
            case FlowControl.IndirectBranch or FlowControl.IndirectCall when instruction.Op0Kind == OpKind.Register:
                state.Gpr[instruction.Op0Register.GetFullRegister() - Register.RAX] = target;
                break;
            case FlowControl.IndirectBranch or FlowControl.IndirectCall when TryOperandAddress(out ulong address):
                PatchQword(address, _ => target);
                break;
        }

        if (instruction.IsLoop || instruction.IsLoopcc || instruction.IsJcxShort)
        {
            state.Gpr[GprFile.Rcx] = _random.Below(4) switch
            {
                0 => state.Gpr[GprFile.Rcx],
                1 => _random.Next() << 32,
                2 => 1,
                _ => (_random.Next() << 32) | 1,
            };
        }
    }

    /// <summary>Whether an indirect branch leads to where it is caught, whatever the registers it goes through share.</summary>
    private bool BranchIsSafe(in Instruction instruction)
    {
        ulong target;
        switch (instruction.FlowControl)
        {
            case FlowControl.Return:
                return ReadsSafeTarget(_case.State.Gpr[GprFile.Rsp], instruction.IP);
            case FlowControl.IndirectBranch or FlowControl.IndirectCall when instruction.Op0Kind == OpKind.Register:
                target = _case.State.Gpr[instruction.Op0Register.GetFullRegister() - Register.RAX];
                return IsSafeTarget(target, instruction.IP);
            case FlowControl.IndirectBranch or FlowControl.IndirectCall:
                return TryOperandAddress(out ulong address) && ReadsSafeTarget(address, instruction.IP);
            default:
                return true;
        }
    }

    private bool ReadsSafeTarget(ulong address, ulong ip)
    {
        ulong offset = address - _data;
        return offset > OracleLayout.DataBytes - 8
            ? address - (_data - Reach) < (2 * Reach) + OracleLayout.DataBytes || address >> 47 != 0
            : IsSafeTarget(BinaryPrimitives.ReadUInt64LittleEndian(_case.Data.AsSpan((int)offset)), ip);
    }

    private bool IsSafeTarget(ulong target, ulong ip) =>
        target - _code < OracleLayout.CodeBytes + Reach && target - (ip - NearEnd) >= 3 * NearEnd;

    private bool TryOperandAddress(out ulong address)
    {
        foreach (UsedMemory memory in _infoFactory.GetInfo(_case.Instruction).GetUsedMemory())
        {
            bool stack = memory.Base == Register.RSP && memory.Index == Register.None && _case.Instruction.MemoryBase != Register.RSP;
            if (!stack && memory.TryGetVirtualAddress(0, _registers, out address))
            {
                return true;
            }
        }

        address = 0;
        return false;
    }

    private void WriteOperand(ulong value, int size)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        if (TryOperandAddress(out ulong address))
        {
            Write(address, bytes[..size]);
        }
    }

    private void ClearByteBits(ulong address, int bits)
    {
        if (address - _data < OracleLayout.DataBytes)
        {
            _case.Data[address - _data] &= (byte)~bits;
        }
    }

    private void PatchQword(ulong address, Func<ulong, ulong> change)
    {
        if (address - _data <= OracleLayout.DataBytes - 8)
        {
            Span<byte> place = _case.Data.AsSpan((int)(address - _data), 8);
            BinaryPrimitives.WriteUInt64LittleEndian(place, change(BinaryPrimitives.ReadUInt64LittleEndian(place)));
        }
    }

    private void Write(ulong address, ReadOnlySpan<byte> bytes)
    {
        if (address - _data < OracleLayout.DataBytes)
        {
            Span<byte> place = _case.Data.AsSpan((int)(address - _data));
            bytes[..Math.Min(bytes.Length, place.Length)].CopyTo(place);
        }
    }

    private Span<byte> At(ulong address, int size)
    {
        ulong offset = address - _data;
        if (offset >= OracleLayout.DataBytes)
        {
            return default;
        }

        return _case.Data.AsSpan((int)offset, Math.Min(size, OracleLayout.DataBytes - (int)offset));
    }
}
