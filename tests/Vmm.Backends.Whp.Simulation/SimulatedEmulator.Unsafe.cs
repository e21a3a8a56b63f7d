using Iced.Intel;
using Vmm.Backends.Whp.Interop;
using static Vmm.Backends.Whp.Interop.WHV_REGISTER_NAME;

namespace Vmm.Backends.Whp.Simulation;

/// <summary>
/// The emulator of WinHvEmulation.dll, simulated: executes one instruction through the documented callbacks alone. It knows moves, arithmetic
/// and logic with a memory operand, bit tests, and the string instructions, which is what drivers use on memory-mapped I/O.
/// </summary>
internal sealed unsafe partial class SimulatedEmulator(WHV_EMULATOR_CALLBACKS callbacks) : IVATryGetRegisterValueProvider
{
    private const int StringChunk = 1024;

    private static readonly WHV_REGISTER_NAME[] Names = [.. Enumerable.Range(0, 24).Select(i => WHvX64RegisterRax + (uint)i)];

    private readonly WHV_REGISTER_VALUE[] _r = new WHV_REGISTER_VALUE[24];
    private readonly SimulatedDecoder _decoder = new();
    private readonly WHV_EMULATOR_CALLBACKS _callbacks = callbacks;
    private nint _context;
    private uint _status;
    private int _cpl;

    public uint Execute(nint context, in WHV_VP_EXIT_CONTEXT vp, ReadOnlySpan<byte> bytes)
    {
        (_context, _status, _cpl) = (context, 0, vp.ExecutionState.AsUINT16 & 3);
        fixed (WHV_REGISTER_NAME* n = Names)
        fixed (WHV_REGISTER_VALUE* v = _r)
        {
            if (_callbacks.WHvEmulatorGetVirtualProcessorRegisters(context, n, (uint)Names.Length, v) < 0) return WHV_EMULATOR_STATUS.GetVirtualProcessorRegistersCallbackFailed;
        }

        var bitness = (vp.ExecutionState.AsUINT16 & WHV_X64_VP_EXECUTION_STATE.EferLma) != 0 && (vp.Cs.Attributes & 0x2000) != 0 ? 64 : (vp.Cs.Attributes & 0x4000) != 0 ? 32 : 16;
        var instruction = _decoder.Decode(bitness, vp.Rip, bytes);
        if (instruction.IsInvalid) return WHV_EMULATOR_STATUS.InternalEmulationFailure;
        var done = instruction.IsStringInstruction ? ExecuteString(instruction, out var again) : ExecuteOne(instruction, out again);
        if (!done && !again) return _status != 0 ? _status : WHV_EMULATOR_STATUS.InternalEmulationFailure;
        if (done) _r[16].Reg64 = bitness == 64 ? instruction.NextIP : (uint)instruction.NextIP;
        fixed (WHV_REGISTER_NAME* n = Names)
        fixed (WHV_REGISTER_VALUE* v = _r)
        {
            if (_callbacks.WHvEmulatorSetVirtualProcessorRegisters(context, n, 18, v) < 0) return WHV_EMULATOR_STATUS.SetVirtualProcessorRegistersCallbackFailed;
        }

        return _status & ~WHV_EMULATOR_STATUS.EmulationSuccessful & Failures | (_status & Failures) switch { 0 => WHV_EMULATOR_STATUS.EmulationSuccessful, _ => 0 };
    }

    private const uint Failures = WHV_EMULATOR_STATUS.IoPortCallbackFailed | WHV_EMULATOR_STATUS.MemoryCallbackFailed | WHV_EMULATOR_STATUS.InternalEmulationFailure;

    // One instruction with a memory operand. False with "again" set: a fault was given to the guest.
    private bool ExecuteOne(in Instruction i, out bool again)
    {
        again = false;
        var size = i.MemorySize.GetSize();
        if (i.Op0Kind == OpKind.Register && i.Op0Register.IsVectorRegister() || i.OpCount > 1 && i.Op1Kind == OpKind.Register && i.Op1Register.IsVectorRegister()) return MoveVector(i, out again);
        switch (i.Mnemonic)
        {
            case Mnemonic.Mov or Mnemonic.Movnti:
                return i.Op0Kind == OpKind.Memory ? TryWrite(i, 0, size, Operand(i, 1), ref again) : TryRead(i, 1, size, out var loaded, ref again) && SetRegister(i.Op0Register, loaded);
            case Mnemonic.Movzx:
                return TryRead(i, 1, size, out var zero, ref again) && SetRegister(i.Op0Register, zero);
            case Mnemonic.Movsx or Mnemonic.Movsxd:
                return TryRead(i, 1, size, out var sign, ref again) && SetRegister(i.Op0Register, (ulong)((long)(sign << (64 - size * 8)) >> (64 - size * 8)));
            case Mnemonic.Xchg:
                var register = i.Op0Kind == OpKind.Register ? i.Op0Register : i.Op1Register;
                var memory = i.Op0Kind == OpKind.Memory ? 0 : 1;
                return TryRead(i, memory, size, out var old, ref again) && TryWrite(i, memory, size, Register(register), ref again) && SetRegister(register, old);
            case Mnemonic.Push or Mnemonic.Pop:
                return Stack(i, ref again);
            case Mnemonic.Not:
                return TryRead(i, 0, size, out var bits, ref again) && TryWrite(i, 0, size, ~bits, ref again);
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc:
                if (i.Op1Kind == OpKind.Register) return false;
                if (!TryRead(i, 0, size, out var word, ref again)) return false;
                var mask = 1UL << (i.Immediate8 & (size * 8 - 1));
                var flags = (_r[17].Reg64 & ~1UL) | ((word & mask) != 0 ? 1u : 0);
                if (i.Mnemonic != Mnemonic.Bt && !TryWrite(i, 0, size, i.Mnemonic switch { Mnemonic.Bts => word | mask, Mnemonic.Btr => word & ~mask, _ => word ^ mask }, ref again)) return false;
                _r[17].Reg64 = flags;
                return true;
            case Mnemonic.Add or Mnemonic.Or or Mnemonic.Adc or Mnemonic.Sbb or Mnemonic.And or Mnemonic.Sub or Mnemonic.Xor or Mnemonic.Cmp or Mnemonic.Test or Mnemonic.Inc or Mnemonic.Dec or Mnemonic.Neg:
                return Arithmetic(i, size, ref again);
        }

        return false;
    }

    // 64-bit code with a stack in I/O, and registers or immediates: who else does that?
    private bool Stack(in Instruction i, ref bool again)
    {
        if (i.CodeSize != CodeSize.Code64 || i.Op0Kind == OpKind.Memory || i.Op0Register.IsSegmentRegister()) return false;
        var size = i.StackPointerIncrement is 2 or -2 ? 2 : 8;
        Span<byte> data = stackalloc byte[8];
        data.Clear();
        if (i.Mnemonic == Mnemonic.Push)
        {
            BitConverter.TryWriteBytes(data, Operand(i, 0));
            if (!TryAccess(_r[4].Reg64 - (ulong)size, data[..size], true, ref again)) return false;
            _r[4].Reg64 -= (ulong)size;
            return true;
        }

        if (!TryAccess(_r[4].Reg64, data[..size], false, ref again)) return false;
        _r[4].Reg64 += (ulong)size;
        return SetRegister(i.Op0Register, BitConverter.ToUInt64(data));
    }

    private bool Arithmetic(in Instruction i, int size, ref bool again)
    {
        var toMemory = i.Op0Kind == OpKind.Memory;
        var memory = toMemory ? 0 : 1;
        if (!TryRead(i, memory, size, out var value, ref again)) return false;
        var (a, b) = i.OpCount == 1 ? (value, 1UL) : toMemory ? (value, Operand(i, 1)) : (Register(i.Op0Register), value);
        if (i.Mnemonic == Mnemonic.Neg) (a, b) = (0, value);
        var mask = size == 8 ? ulong.MaxValue : (1UL << size * 8) - 1;
        var top = 1UL << (size * 8 - 1);
        (a, b) = (a & mask, b & mask);
        ulong carryIn = i.Mnemonic is Mnemonic.Adc or Mnemonic.Sbb ? _r[17].Reg64 & 1 : 0;
        var adds = i.Mnemonic is Mnemonic.Add or Mnemonic.Adc or Mnemonic.Inc;
        var subtracts = i.Mnemonic is Mnemonic.Sub or Mnemonic.Sbb or Mnemonic.Cmp or Mnemonic.Dec or Mnemonic.Neg;
        var result = mask & (adds ? a + b + carryIn : subtracts ? a - b - carryIn : i.Mnemonic switch { Mnemonic.Or => a | b, Mnemonic.Xor => a ^ b, _ => a & b });
        bool carry = false, overflow = false;
        if (adds) (carry, overflow) = ((UInt128)a + b + carryIn > mask, ((a ^ result) & (b ^ result) & top) != 0);
        if (subtracts) (carry, overflow) = ((UInt128)b + carryIn > a, ((a ^ b) & (a ^ result) & top) != 0);
        if (i.Mnemonic is Mnemonic.Inc or Mnemonic.Dec) carry = (_r[17].Reg64 & 1) != 0;
        if (i.Mnemonic is not (Mnemonic.Cmp or Mnemonic.Test) && toMemory && !TryWrite(i, 0, size, result, ref again)) return false;
        if (i.Mnemonic is not (Mnemonic.Cmp or Mnemonic.Test) && !toMemory) SetRegister(i.Op0Register, result);
        var flags = _r[17].Reg64 & ~0x8D5UL;
        if (carry) flags |= 1;
        if ((System.Numerics.BitOperations.PopCount(result & 0xFF) & 1) == 0) flags |= 4;
        if ((adds || subtracts) && ((a ^ b ^ result) & 0x10) != 0) flags |= 0x10;
        if (result == 0) flags |= 0x40;
        if ((result & top) != 0) flags |= 0x80;
        if (overflow) flags |= 0x800;
        _r[17].Reg64 = flags;
        return true;
    }

    private bool MoveVector(in Instruction i, out bool again)
    {
        again = false;
        if (i.Mnemonic is not (Mnemonic.Movups or Mnemonic.Movaps or Mnemonic.Movdqu or Mnemonic.Movdqa or Mnemonic.Movupd or Mnemonic.Movapd or Mnemonic.Movd or Mnemonic.Movq or Mnemonic.Movntdq or Mnemonic.Movntps)) return false;
        var store = i.Op0Kind == OpKind.Memory;
        var register = store ? i.Op1Register : i.Op0Register;
        if (!register.IsXMM()) return false;
        var size = i.MemorySize.GetSize();
        Span<byte> data = stackalloc byte[16];
        data.Clear();
        WHV_REGISTER_VALUE value = default;
        var name = WHvX64RegisterXmm0 + (uint)(register - Iced.Intel.Register.XMM0);
        if (store)
        {
            if (_callbacks.WHvEmulatorGetVirtualProcessorRegisters(_context, &name, 1, &value) < 0) return false;
            BitConverter.TryWriteBytes(data, value.Reg128.Low64);
            BitConverter.TryWriteBytes(data[8..], value.Reg128.High64);
            return TryAccess(Linear(i, 0), data[..size], true, ref again);
        }

        if (!TryAccess(Linear(i, 1), data[..size], false, ref again)) return false;
        (value.Reg128.Low64, value.Reg128.High64) = (BitConverter.ToUInt64(data), BitConverter.ToUInt64(data[8..]));
        return _callbacks.WHvEmulatorSetVirtualProcessorRegisters(_context, &name, 1, &value) >= 0;
    }

    // Elements until the count is used up; after many of them, or at a fault, the instruction goes on at the next exit.
    private bool ExecuteString(in Instruction i, out bool again)
    {
        again = false;
        var repeated = i.HasRepPrefix || i.HasRepnePrefix;
        var size = i.Mnemonic is Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd or Mnemonic.Outsb or Mnemonic.Outsw or Mnemonic.Outsd ? i.MemorySize.GetSize() : i.MemorySize.GetSize();
        var addressSize = AddressSize(i);
        for (var n = 0; ; n++)
        {
            if (repeated && Part(1, addressSize) == 0) return true;
            if (n == StringChunk)
            {
                again = true;
                return false;
            }

            var fault = false;
            if (!TryElement(i, size, addressSize, ref fault))
            {
                again = fault || n > 0;
                return false;
            }

            if (!repeated) return true;
            SetPart(1, addressSize, Part(1, addressSize) - 1);
            if (i.Mnemonic is Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq or Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq && (_r[17].Reg64 & 0x40) != 0 == i.HasRepnePrefix) return true;
        }
    }

    private bool TryElement(in Instruction i, int size, int addressSize, ref bool fault)
    {
        var step = (_r[17].Reg64 & 0x400) != 0 ? 0UL - (ulong)size : (ulong)size;
        bool usesSource = false, usesTarget = false;
        Span<byte> data = stackalloc byte[8];
        data.Clear();
        switch (i.Mnemonic)
        {
            case Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq:
                if (!TryAccess(Linear(i, 1), data[..size], false, ref fault) || !TryAccess(Linear(i, 0), data[..size], true, ref fault)) return false;
                usesSource = usesTarget = true;
                break;
            case Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq:
                BitConverter.TryWriteBytes(data, _r[0].Reg64);
                if (!TryAccess(Linear(i, 0), data[..size], true, ref fault)) return false;
                usesTarget = true;
                break;
            case Mnemonic.Lodsb or Mnemonic.Lodsw or Mnemonic.Lodsd or Mnemonic.Lodsq:
                if (!TryAccess(Linear(i, 1), data[..size], false, ref fault)) return false;
                SetRegister(i.Op0Register, BitConverter.ToUInt64(data));
                usesSource = true;
                break;
            case Mnemonic.Outsb or Mnemonic.Outsw or Mnemonic.Outsd:
                if (!TryAccess(Linear(i, 1), data[..size], false, ref fault) || !TryPort(size, true, data)) return false;
                usesSource = true;
                break;
            case Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd:
                // The target first: a device must not lose what a page fault keeps from being stored.
                if (!TryTranslate(Linear(i, 0), true, ref fault, out _) || !TryPort(size, false, data) || !TryAccess(Linear(i, 0), data[..size], true, ref fault)) return false;
                usesTarget = true;
                break;
            default:
                return false;
        }

        if (usesSource) SetPart(6, addressSize, Part(6, addressSize) + step);
        if (usesTarget) SetPart(7, addressSize, Part(7, addressSize) + step);
        return true;
    }

    private bool TryPort(int size, bool write, Span<byte> data)
    {
        WHV_EMULATOR_IO_ACCESS_INFO access = new() { Direction = (byte)(write ? 1 : 0), Port = _r[2].Reg16, AccessSize = (ushort)size, Data = BitConverter.ToUInt32(data) };
        if (_callbacks.WHvEmulatorIoPortCallback(_context, &access) < 0)
        {
            _status |= WHV_EMULATOR_STATUS.IoPortCallbackFailed;
            return false;
        }

        if (!write) BitConverter.TryWriteBytes(data, access.Data);
        return true;
    }

    private bool TryRead(in Instruction i, int operand, int size, out ulong value, ref bool fault)
    {
        Span<byte> data = stackalloc byte[8];
        data.Clear();
        var done = size <= 8 && TryAccess(Linear(i, operand), data[..size], false, ref fault);
        value = BitConverter.ToUInt64(data);
        return done;
    }

    private bool TryWrite(in Instruction i, int operand, int size, ulong value, ref bool fault)
    {
        Span<byte> data = stackalloc byte[8];
        BitConverter.TryWriteBytes(data, value);
        return size <= 8 && TryAccess(Linear(i, operand), data[..size], true, ref fault);
    }

    private bool TryAccess(ulong linear, Span<byte> data, bool write, ref bool fault)
    {
        for (var done = 0; done < data.Length;)
        {
            var at = linear + (uint)done;
            if (!TryTranslate(at, write, ref fault, out var gpa)) return false;
            var size = Math.Min(Math.Min(data.Length - done, 8), (int)(4096 - (at & 0xFFF)));
            WHV_EMULATOR_MEMORY_ACCESS_INFO access = new() { GpaAddress = gpa, Direction = (byte)(write ? 1 : 0), AccessSize = (byte)size };
            Span<byte> bytes = access.Data;
            if (write) data.Slice(done, size).CopyTo(bytes);
            if (_callbacks.WHvEmulatorMemoryCallback(_context, &access) < 0)
            {
                _status |= WHV_EMULATOR_STATUS.MemoryCallbackFailed;
                return false;
            }

            if (!write) bytes[..size].CopyTo(data[done..]);
            done += size;
        }

        return true;
    }

    private bool TryTranslate(ulong linear, bool write, ref bool fault, out ulong gpa)
    {
        WHV_TRANSLATE_GVA_RESULT_CODE code;
        ulong address;
        var flags = WHV_TRANSLATE_GVA_FLAGS.WHvTranslateGvaFlagSetPageTableBits | (write ? WHV_TRANSLATE_GVA_FLAGS.WHvTranslateGvaFlagValidateWrite : WHV_TRANSLATE_GVA_FLAGS.WHvTranslateGvaFlagValidateRead);
        gpa = 0;
        if (_callbacks.WHvEmulatorTranslateGvaPage(_context, linear, flags, &code, &address) < 0)
        {
            _status |= WHV_EMULATOR_STATUS.TranslateGvaPageCallbackFailed;
            return false;
        }

        gpa = address;
        if (code == WHV_TRANSLATE_GVA_RESULT_CODE.WHvTranslateGvaResultSuccess) return true;

        // The guest's own page fault.
        fault = true;
        var names = stackalloc WHV_REGISTER_NAME[2] { WHvX64RegisterCr2, WHvRegisterPendingEvent };
        var values = stackalloc WHV_REGISTER_VALUE[2];
        (values[0], values[1]) = (default, default);
        values[0].Reg64 = linear;
        values[1].Reg64 = 1 | 1 << 8 | 14UL << 16 | ((write ? 2UL : 0) | (_cpl == 3 ? 4UL : 0)) << 32;
        _callbacks.WHvEmulatorSetVirtualProcessorRegisters(_context, names, 2, values);
        return false;
    }

    private ulong Linear(in Instruction i, int operand)
    {
        i.TryGetVirtualAddress(operand, 0, this, out var linear);
        return (_r[19].Segment.Attributes & 0x2000) != 0 ? linear : (uint)linear;
    }

    bool IVATryGetRegisterValueProvider.TryGetRegisterValue(Register register, int elementIndex, int elementSize, out ulong value)
    {
        value = register.IsSegmentRegister() ? SegmentStart(register) : Register(register);
        return true;
    }

    private ulong SegmentStart(Register register)
    {
        var code64 = (_r[19].Segment.Attributes & 0x2000) != 0;
        var number = register - Iced.Intel.Register.ES;
        return code64 && number < 4 ? 0 : _r[18 + number].Segment.Base;
    }

    private ulong Operand(in Instruction i, int operand) => i.GetOpKind(operand) == OpKind.Register ? (i.GetOpRegister(operand).IsSegmentRegister() ? _r[18 + (i.GetOpRegister(operand) - Iced.Intel.Register.ES)].Segment.Selector : Register(i.GetOpRegister(operand))) : i.GetImmediate(operand);

    private ulong Register(Register register)
    {
        var value = _r[register.GetFullRegister() - Iced.Intel.Register.RAX].Reg64;
        if (register is >= Iced.Intel.Register.AH and <= Iced.Intel.Register.BH) return value >> 8 & 0xFF;
        return register.GetSize() switch { 1 => (byte)value, 2 => (ushort)value, 4 => (uint)value, _ => value };
    }

    private bool SetRegister(Register register, ulong value)
    {
        ref var full = ref _r[register.GetFullRegister() - Iced.Intel.Register.RAX].Reg64;
        if (register is >= Iced.Intel.Register.AH and <= Iced.Intel.Register.BH) full = (full & ~0xFF00UL) | (value & 0xFF) << 8;
        else full = register.GetSize() switch { 1 => (full & ~0xFFUL) | (byte)value, 2 => (full & ~0xFFFFUL) | (ushort)value, 4 => (uint)value, _ => value };
        return true;
    }

    private static int AddressSize(in Instruction i)
    {
        for (var n = 0; n < i.OpCount; n++)
        {
            switch (i.GetOpKind(n))
            {
                case OpKind.MemorySegSI or OpKind.MemoryESDI: return 2;
                case OpKind.MemorySegESI or OpKind.MemoryESEDI: return 4;
            }
        }

        return 8;
    }

    private ulong Part(int register, int size) => size switch { 2 => _r[register].Reg16, 4 => _r[register].Reg32, _ => _r[register].Reg64 };

    private void SetPart(int register, int size, ulong value)
    {
        ref var full = ref _r[register].Reg64;
        full = size switch { 2 => (full & ~0xFFFFUL) | (ushort)value, 4 => (uint)value, _ => value };
    }
}
