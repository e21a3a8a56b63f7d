using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

public sealed partial class InstructionGenerator
{
    /// <summary>Accesses may reach this far outside the data area: all of it is guard.</summary>
    private const int Reach = NativeOracle.GuardBytes / 2;

    private const int NearEnd = 16;

    private void SetMemory(ref Instruction instruction, int operand, Register vectorIndex)
    {
        instruction.SetOpKind(operand, OpKind.Memory);
        if (_inSequence)
        {
            SetSequenceMemory(ref instruction);
            return;
        }

        bool vsib = vectorIndex != Register.None;
        Register first = _address32 ? Register.EAX : Register.RAX;
        int form = _random.Below(100);
        if (!vsib && form < 10)
        {
            instruction.MemoryBase = _address32 ? Register.EIP : Register.RIP;
            instruction.MemoryDisplacement64 = PickAddress(16) & (_address32 ? uint.MaxValue : ulong.MaxValue);
            instruction.MemoryDisplSize = _address32 ? 4 : 8;
            return;
        }

        bool hasBase = form < 90, hasIndex = vsib || form < 15 || form >= 50;
        if (hasBase)
        {
            instruction.MemoryBase = first + _random.Below(16);
        }

        if (hasIndex)
        {
            int index = _random.Below(16);
            instruction.MemoryIndex = vsib ? vectorIndex + index : first + (index == 4 ? 5 : index);
            instruction.MemoryIndexScale = 1 << _random.Below(4);
        }

        if (!hasBase && (!hasIndex || vsib))
        {
            instruction.MemoryDisplacement64 = PickAddress(16) & 0x7FFF_FFFF;
            instruction.MemoryDisplSize = _address32 ? 4 : 8;
            return;
        }

        switch (_random.Below(3))
        {
            case 0 when hasBase:
                break;
            case 1 when hasBase:
                instruction.MemoryDisplSize = 1;
                instruction.MemoryDisplacement64 = Displacement(_random.Between(-128, 127));
                break;
            default:
                instruction.MemoryDisplSize = _address32 ? 4 : 8;
                instruction.MemoryDisplacement64 = Displacement((int)BiasedValues.Integer(ref _random, 32));
                break;
        }
    }

    private ulong Displacement(int value) => _address32 ? (uint)value : (ulong)value;

    /// <summary>Where an access of <paramref name="size"/> bytes shall fall.</summary>
    private ulong PickAddress(int size)
    {
        size = Math.Clamp(size, 1, 1024);
        ulong end = _data + OracleLayout.DataBytes;
        int inside = _random.Between(64, OracleLayout.DataBytes - 64 - size);
        switch (_random.Below(100))
        {
            case < 72:
                int alignment = size >= 512 ? 64 : (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)size);
                return _data + (ulong)(inside & -alignment);
            case < 86:
                return _data + (ulong)inside;
            case < 91:
                return _data + OracleLayout.PageBytes - (ulong)_random.Between(0, size);
            case < 94:
                return end - (ulong)_random.Between(1, size);
            case < 96:
                return _data - (ulong)_random.Between(1, size);
            case < 98:
                return end + (ulong)_random.Below(0x2000);
            default:
                return _address32 ? _data + (ulong)inside : (_random.Next() & 0x7FFF_FFFF_FFFF) | (1UL << _random.Between(48, 62));
        }
    }

    /// <summary>A target for a two-byte branch: in reach, and not where the run would go on without being caught.</summary>
    private ulong ShortTarget(ulong ip)
    {
        ulong next = ip + 2;
        return _random.Percent(50) ? next + (ulong)_random.Between(NearEnd, 120) : next - (ulong)_random.Between(NearEnd, 120);
    }

    /// <summary>A target in the code area or in the guards.</summary>
    private ulong AnyTarget(ulong ip)
    {
        ulong target;
        do
        {
            target = _random.Percent(70) ? _code + (ulong)_random.Below(OracleLayout.CodeBytes)
                : _code + OracleLayout.CodeBytes + (ulong)_random.Below(Reach);
        }
        while (target - (ip - NearEnd) < 3 * NearEnd);
        return target;
    }

    private bool TryEncode(in Instruction instruction, ulong ip)
    {
        _writer.Length = 0;
        if (!_encoder.TryEncode(instruction, ip, out uint length, out _) || length > 15)
        {
            return false;
        }

        int prefixes = 0;
        bool branches = instruction.FlowControl is not (FlowControl.Next or FlowControl.Exception or FlowControl.Interrupt);
        if (length < 14 && !branches && _random.Percent(4))
        {
            // A redundant or meaningless prefix: what it does then is part of the model too.
            _case.Buffer[prefixes++] = _random.Pick<byte>([0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x26, 0x2E, 0x36, 0x3E, 0x65, 0x40, 0x48, 0x4F]);
        }

        _writer.Bytes.AsSpan(0, (int)length).CopyTo(_case.Buffer.AsSpan(prefixes));
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(_case.Buffer, 0, prefixes + (int)length), ip);
        decoder.Decode(out Instruction decoded);
        _case.Instruction = decoded;
        if (decoded.IsInvalid || decoded.Length != prefixes + (int)length || decoded.SegmentPrefix == Register.FS || SharesBitOffset(decoded))
        {
            return false;
        }

        // Iced takes F3 41 90 for PAUSE; processors exchange EAX and R8D.
        return prefixes == 0 ? decoded.Code == instruction.Code
            : decoded.Code != Code.Pause && CodeCatalogue.TryGet(decoded.Code, out CatalogueEntry entry) && entry.Comparability == Comparability.Exact
                && decoded.FlowControl is FlowControl.Next or FlowControl.Exception;
    }

    /// <summary>Gives base and index registers the values that lead to chosen addresses, stack and string registers included.</summary>
    private void PlaceAddresses()
    {
        ref OracleState state = ref _case.State;
        Instruction instruction = _case.Instruction;
        if (instruction.HasRepPrefix || instruction.HasRepnePrefix)
        {
            state.Gpr[GprFile.Rcx] = _random.Below(20) switch
            {
                0 => 0,
                < 16 => (ulong)_random.Below(24),
                < 19 => (ulong)_random.Below(600),
                _ => (ulong)_random.Below(100_000),
            };
            if (_random.Percent(10))
            {
                state.Gpr[GprFile.Rcx] |= instruction.Op0Kind is OpKind.MemoryESEDI or OpKind.MemorySegESI || instruction.Op1Kind is OpKind.MemoryESEDI or OpKind.MemorySegESI
                    ? _random.Next() << 32 : 0;
            }
        }

        PrepareBitOffset(instruction);
        InstructionInfo info = _infoFactory.GetInfo(instruction);
        foreach (UsedMemory memory in info.GetUsedMemory())
        {
            if (memory.Index.IsVectorRegister())
            {
                PrepareVectorIndex(memory.Index);
            }

            Place(memory, PickAddress(memory.MemorySize.GetSize() is int size and > 0 ? size : 64));
        }
    }

    private void Place(in UsedMemory memory, ulong target)
    {
        if (memory.Base.IsGPR() && !memory.TryGetVirtualAddress(0, _registers, out _))
        {
            return;
        }

        bool narrow = memory.AddressSize == CodeSize.Code32;
        if (memory.Base.IsGPR())
        {
            ulong rest = 0;
            int times = 1;
            if (memory.Index == memory.Base)
            {
                times += memory.Scale;
                rest = memory.Displacement;
            }
            else if (memory.TryGetVirtualAddress(0, _registers, out ulong address))
            {
                ulong now = _case.State.Gpr[memory.Base.GetFullRegister() - Register.RAX];
                rest = address - (narrow ? (uint)now : now);
            }

            SetAddressRegister(memory.Base, Divide(target - rest, times, narrow), narrow);
        }
        else if (memory.Index.IsGPR() && memory.Index.GetSize() >= 4)
        {
            SetAddressRegister(memory.Index, Divide(target - memory.Displacement, memory.Scale, narrow), narrow);
        }
    }

    private static ulong Divide(ulong value, int by, bool narrow) =>
        by == 1 ? value : narrow ? (uint)value / (uint)by : (ulong)((long)value / by);

    private void SetAddressRegister(Register register, ulong value, bool narrow)
    {
        ref ulong full = ref _case.State.Gpr[register.GetFullRegister() - Register.RAX];
        full = narrow ? (full & 0xFFFF_FFFF_0000_0000) | (uint)value : value;
    }

    /// <summary>Whether every address the instruction uses is in the data area, in its guards, or non-canonical.</summary>
    private bool IsSafe()
    {
        Instruction instruction = _case.Instruction;
        InstructionInfo info = _infoFactory.GetInfo(instruction);
        foreach (UsedMemory memory in info.GetUsedMemory())
        {
            int lanes = !memory.Index.IsVectorRegister() ? 1
                : memory.Index.GetSize() / (memory.VsibSize == 4 ? 4 : 8);
            for (int i = 0; i < lanes; i++)
            {
                if (!memory.TryGetVirtualAddress(i, _registers, out ulong address) || !IsSafe(address))
                {
                    return false;
                }
            }
        }

        return BranchIsSafe(instruction);
    }

    private bool IsSafe(ulong address)
    {
        bool canonical = (long)(address << 16) >> 16 == (long)address;
        return address - (_data - Reach) < (2 * Reach) + OracleLayout.DataBytes || !canonical && (long)((address + 4096) << 16) >> 16 != (long)(address + 4096);
    }
}
