using System.Collections.Immutable;
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>
/// Makes random valid encodings of a form, and a state for them whose effective addresses fall where the native oracle may go:
/// mostly in the data area, sometimes across its pages, into its guards, or non-canonical. The same seed gives the same case.
/// </summary>
public sealed partial class InstructionGenerator
{
    private const int Attempts = 40;

    private static readonly ImmutableArray<Register> s_gpr8 =
    [
        Register.AL, Register.CL, Register.DL, Register.BL, Register.AH, Register.CH, Register.DH, Register.BH, Register.SPL, Register.BPL, Register.SIL,
        Register.DIL, Register.R8L, Register.R9L, Register.R10L, Register.R11L, Register.R12L, Register.R13L, Register.R14L, Register.R15L,
    ];

    private readonly ulong _code, _data;
    private readonly Encoder _encoder;
    private readonly ByteWriter _writer = new();
    private readonly InstructionInfoFactory _infoFactory = new();
    private readonly OracleCase _case;
    private readonly RegisterProvider _registers;
    private readonly byte[] _pattern = new byte[OracleLayout.DataBytes];
    private OracleRandom _random;
    private bool _address32, _inSequence;

    /// <summary>Makes a generator for the areas of an oracle.</summary>
    public InstructionGenerator(NativeOracle oracle)
    {
        _code = oracle.CodeAddress;
        _data = oracle.DataAddress;
        _case = new OracleCase { DataAddress = _data };
        _encoder = Encoder.Create(64, _writer);
        _registers = new RegisterProvider(_case);
        var random = new OracleRandom(0);
        for (int i = 0; i < _pattern.Length; i += 64)
        {
            BiasedValues.Fill(ref random, (LaneKind)random.Below((int)LaneKind.Uniform + 1), _pattern.AsSpan(i, 64));
        }
    }

    /// <summary>The case made last; overwritten by the next.</summary>
    public OracleCase Case => _case;

    /// <summary>Makes a case of <paramref name="code"/> into <see cref="Case"/>; false if no attempt gave an encodable and safe one.</summary>
    public bool TryGenerate(Code code, ulong seed)
    {
        _random = new OracleRandom(seed ^ ((ulong)code << 40));
        _case.Code = code;
        _case.Seed = seed;
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            if (TryAttempt(code))
            {
                return true;
            }
        }

        return false;
    }

    private bool TryAttempt(Code code)
    {
        StateGenerator.Fill(ref _random, code, ref _case.State);
        _pattern.CopyTo(_case.Data, 0);
        int place = _random.Percent(4) ? OracleLayout.PageBytes - _random.Between(1, 15) : _random.Between(0x200, 0xD00);
        ulong ip = _case.State.Rip = _code + (ulong)place;
        if (!TryBuild(code, ip, out Instruction instruction) || !TryEncode(instruction, ip))
        {
            return false;
        }

        PlaceAddresses();
        PrepareOperands();
        return IsSafe();
    }

    private bool TryBuild(Code code, ulong ip, out Instruction instruction)
    {
        instruction = default;
        instruction.Code = code;
        _address32 = _random.Percent(15);
        OpCodeInfo info = code.ToOpCode();
        for (int i = 0; i < info.OpCount; i++)
        {
            if (!TrySetOperand(ref instruction, info, i, ip))
            {
                return false;
            }
        }

        if (info.CanUseLockPrefix && instruction.Op0Kind == OpKind.Memory && _random.Percent(30))
        {
            instruction.HasLockPrefix = true;
        }

        if (instruction.IsStringInstruction || info.CanUseRepPrefix || info.CanUseRepnePrefix)
        {
            instruction.HasRepePrefix = info.CanUseRepPrefix && _random.Percent(40);
            instruction.HasRepnePrefix = info.CanUseRepnePrefix && !instruction.HasRepePrefix && _random.Percent(40);
        }

        if (_random.Percent(5))
        {
            instruction.SegmentPrefix = _random.Pick<Register>([Register.ES, Register.CS, Register.SS, Register.DS, Register.GS]);
        }

        return true;
    }

    private bool TrySetOperand(ref Instruction instruction, OpCodeInfo info, int i, ulong ip)
    {
        OpCodeOperandKind kind = info.GetOpKind(i);
        if (FixedRegister(kind) is { } register and not Register.None)
        {
            instruction.SetOpKind(i, OpKind.Register);
            instruction.SetOpRegister(i, register);
            return true;
        }

        switch (kind)
        {
            case OpCodeOperandKind.mem or OpCodeOperandKind.mem_mib or OpCodeOperandKind.sibmem:
                SetMemory(ref instruction, i, Register.None);
                return true;
            case OpCodeOperandKind.mem_vsib32x or OpCodeOperandKind.mem_vsib64x:
                SetMemory(ref instruction, i, Register.XMM0);
                return true;
            case OpCodeOperandKind.mem_vsib32y or OpCodeOperandKind.mem_vsib64y:
                SetMemory(ref instruction, i, Register.YMM0);
                return true;
            case OpCodeOperandKind.mem_offs:
                instruction.SetOpKind(i, OpKind.Memory);
                instruction.MemoryDisplSize = _address32 ? 4 : 8;
                instruction.MemoryDisplacement64 = PickAddress(8);
                return true;
            case OpCodeOperandKind.seg_rSI:
                instruction.SetOpKind(i, _address32 ? OpKind.MemorySegESI : OpKind.MemorySegRSI);
                return true;
            case OpCodeOperandKind.es_rDI:
                instruction.SetOpKind(i, _address32 ? OpKind.MemoryESEDI : OpKind.MemoryESRDI);
                return true;
            case OpCodeOperandKind.seg_rDI:
                instruction.SetOpKind(i, _address32 ? OpKind.MemorySegEDI : OpKind.MemorySegRDI);
                return true;
            case OpCodeOperandKind.seg_rBX_al:
                instruction.SetOpKind(i, OpKind.Memory);
                instruction.MemoryBase = _address32 ? Register.EBX : Register.RBX;
                instruction.MemoryIndex = Register.AL;
                return true;
            case OpCodeOperandKind.br64_1:
                instruction.SetOpKind(i, OpKind.NearBranch64);
                instruction.NearBranch64 = ShortTarget(ip);
                return true;
            case OpCodeOperandKind.br64_4:
                instruction.SetOpKind(i, OpKind.NearBranch64);
                instruction.NearBranch64 = AnyTarget(ip);
                return true;
            default:
                return TrySetRegisterOrMemory(ref instruction, kind, i) || TrySetImmediate(ref instruction, kind, i);
        }
    }

    private bool TrySetRegisterOrMemory(ref Instruction instruction, OpCodeOperandKind kind, int i)
    {
        bool memory = kind is OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r64_or_mem
            or OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.ymm_or_mem;
        if (memory && _random.Percent(60))
        {
            SetMemory(ref instruction, i, Register.None);
            return true;
        }

        Register register;
        switch (kind)
        {
            case OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r8_reg or OpCodeOperandKind.r8_opcode:
                register = s_gpr8[_random.Below(s_gpr8.Length)];
                break;
            case OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r16_reg or OpCodeOperandKind.r16_reg_mem or OpCodeOperandKind.r16_rm
                or OpCodeOperandKind.r16_opcode:
                register = Register.AX + _random.Below(16);
                break;
            case OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r32_reg or OpCodeOperandKind.r32_reg_mem or OpCodeOperandKind.r32_rm
                or OpCodeOperandKind.r32_opcode or OpCodeOperandKind.r32_vvvv:
                register = Register.EAX + _random.Below(16);
                break;
            case OpCodeOperandKind.r64_or_mem or OpCodeOperandKind.r64_reg or OpCodeOperandKind.r64_reg_mem or OpCodeOperandKind.r64_rm
                or OpCodeOperandKind.r64_opcode or OpCodeOperandKind.r64_vvvv:
                register = Register.RAX + _random.Below(16);
                break;
            case OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.mm_reg or OpCodeOperandKind.mm_rm:
                register = Register.MM0 + _random.Below(8);
                break;
            case OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.xmm_reg or OpCodeOperandKind.xmm_rm or OpCodeOperandKind.xmm_vvvv
                or OpCodeOperandKind.xmm_is4:
                register = Register.XMM0 + _random.Below(16);
                break;
            case OpCodeOperandKind.ymm_or_mem or OpCodeOperandKind.ymm_reg or OpCodeOperandKind.ymm_rm or OpCodeOperandKind.ymm_vvvv
                or OpCodeOperandKind.ymm_is4:
                register = Register.YMM0 + _random.Below(16);
                break;
            case OpCodeOperandKind.sti_opcode:
                register = Register.ST0 + _random.Below(8);
                break;
            case OpCodeOperandKind.seg_reg:
                register = Register.ES + _random.Below(6);
                break;
            case OpCodeOperandKind.cr_reg:
                register = _random.Pick<Register>([Register.CR0, Register.CR2, Register.CR3, Register.CR4, Register.CR8]);
                break;
            case OpCodeOperandKind.dr_reg:
                register = _random.Pick<Register>([Register.DR0, Register.DR1, Register.DR2, Register.DR3, Register.DR6, Register.DR7]);
                break;
            default:
                return false;
        }

        instruction.SetOpKind(i, OpKind.Register);
        instruction.SetOpRegister(i, register);
        return true;
    }

    private bool TrySetImmediate(ref Instruction instruction, OpCodeOperandKind kind, int i)
    {
        (OpKind op, int bits) = kind switch
        {
            OpCodeOperandKind.imm8 when i > 0 && instruction.GetOpKind(i - 1) == OpKind.Immediate16 => (OpKind.Immediate8_2nd, 8),
            OpCodeOperandKind.imm8 => (OpKind.Immediate8, 8),
            OpCodeOperandKind.imm8_const_1 => (OpKind.Immediate8, 1),
            OpCodeOperandKind.imm8sex16 => (OpKind.Immediate8to16, 8),
            OpCodeOperandKind.imm8sex32 => (OpKind.Immediate8to32, 8),
            OpCodeOperandKind.imm8sex64 => (OpKind.Immediate8to64, 8),
            OpCodeOperandKind.imm16 => (OpKind.Immediate16, 16),
            OpCodeOperandKind.imm32 => (OpKind.Immediate32, 32),
            OpCodeOperandKind.imm32sex64 => (OpKind.Immediate32to64, 32),
            OpCodeOperandKind.imm64 => (OpKind.Immediate64, 64),
            _ => (OpKind.Register, 0),
        };
        if (bits == 0)
        {
            return false;
        }

        instruction.SetOpKind(i, op);
        ulong value = bits == 1 ? 1 : BiasedValues.Integer(ref _random, bits);
        if (op is OpKind.Immediate16 && instruction.Mnemonic == Mnemonic.Enter)
        {
            value &= 0x1FF;
        }
        else if (op is OpKind.Immediate8_2nd && _random.Percent(60))
        {
            value &= 3;
        }

        instruction.SetImmediate(i, op switch
        {
            OpKind.Immediate8to16 or OpKind.Immediate8to32 or OpKind.Immediate8to64 => (long)(sbyte)value,
            OpKind.Immediate32to64 => (long)(int)value,
            _ => (long)value,
        });
        return true;
    }

    private static Register FixedRegister(OpCodeOperandKind kind) => kind switch
    {
        OpCodeOperandKind.al => Register.AL,
        OpCodeOperandKind.cl => Register.CL,
        OpCodeOperandKind.ax => Register.AX,
        OpCodeOperandKind.dx => Register.DX,
        OpCodeOperandKind.eax => Register.EAX,
        OpCodeOperandKind.rax => Register.RAX,
        OpCodeOperandKind.st0 => Register.ST0,
        OpCodeOperandKind.es => Register.ES,
        OpCodeOperandKind.cs => Register.CS,
        OpCodeOperandKind.ss => Register.SS,
        OpCodeOperandKind.ds => Register.DS,
        OpCodeOperandKind.fs => Register.FS,
        OpCodeOperandKind.gs => Register.GS,
        _ => Register.None,
    };

    private sealed class ByteWriter : CodeWriter
    {
        public byte[] Bytes { get; } = new byte[32];

        public int Length { get; set; }

        public override void WriteByte(byte value)
        {
            if (Length < Bytes.Length)
            {
                Bytes[Length++] = value;
            }
        }
    }
}
