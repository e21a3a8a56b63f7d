using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.TestSupport.Oracle;

namespace Vmm.Backends.Conformance.Differential;

/// <summary>
/// Makes a small program of genes: arithmetic, moves, stack, strings, short forward jumps and bounded loops, accesses that fault; in kernel mode
/// also ports, devices and system registers. RSI points at the data and is never written; nothing reads a flag that the manual leaves undefined,
/// so two correct processors must agree.
/// </summary>
public sealed class ProgramWriter
{
    /// <summary>Ports and device the kernel programs use.</summary>
    public const ushort Port = 0x500;
    public const ulong Device = 0xD000_0000;

    private const ulong Arithmetic = 0x8D5, Carry = 1, Adjust = 0x10, Overflow = 0x800;
    private static readonly Register[] s_registers = [Register.RAX, Register.RBX, Register.RDX, Register.RBP, Register.R8, Register.R9, Register.R10, Register.R11, Register.R12, Register.R13, Register.R14];

    private static readonly Code[] s_binary =
    [
        Code.Add_rm64_r64, Code.Add_rm32_r32, Code.Add_rm16_r16, Code.Add_rm8_r8, Code.Adc_rm64_r64, Code.Adc_rm32_r32, Code.Sub_rm64_r64, Code.Sub_rm32_r32, Code.Sbb_rm64_r64, Code.Sbb_rm16_r16,
        Code.And_rm64_r64, Code.And_rm32_r32, Code.Or_rm64_r64, Code.Or_rm8_r8, Code.Xor_rm64_r64, Code.Xor_rm32_r32, Code.Cmp_rm64_r64, Code.Cmp_rm32_r32, Code.Test_rm64_r64, Code.Test_rm8_r8,
        Code.Mov_rm64_r64, Code.Mov_rm32_r32, Code.Mov_rm16_r16, Code.Mov_rm8_r8, Code.Xchg_rm64_r64, Code.Xchg_rm32_r32, Code.Xadd_rm64_r64, Code.Xadd_rm32_r32, Code.Cmpxchg_rm64_r64, Code.Cmpxchg_rm32_r32,
        Code.Bt_rm64_r64, Code.Bts_rm64_r64, Code.Btr_rm32_r32, Code.Btc_rm64_r64,
    ];

    private static readonly Code[] s_fromMemory =
    [
        Code.Add_r64_rm64, Code.Adc_r32_rm32, Code.Sub_r64_rm64, Code.Sbb_r64_rm64, Code.And_r32_rm32, Code.Or_r64_rm64, Code.Xor_r64_rm64, Code.Cmp_r32_rm32, Code.Mov_r64_rm64, Code.Mov_r32_rm32, Code.Mov_r16_rm16,
        Code.Movzx_r32_rm8, Code.Movzx_r64_rm16, Code.Movsx_r64_rm8, Code.Movsx_r32_rm16, Code.Movsxd_r64_rm32, Code.Imul_r64_rm64, Code.Imul_r32_rm32, Code.Cmovb_r64_rm64, Code.Cmove_r32_rm32, Code.Cmovs_r64_rm64, Code.Cmovo_r64_rm64, Code.Cmovp_r32_rm32,
    ];

    private static readonly Code[] s_unary =
        [Code.Inc_rm64, Code.Inc_rm32, Code.Dec_rm64, Code.Dec_rm8, Code.Neg_rm64, Code.Neg_rm32, Code.Not_rm64, Code.Not_rm16, Code.Mul_rm64, Code.Mul_rm32, Code.Imul_rm64, Code.Setb_rm8, Code.Sete_rm8, Code.Setl_rm8, Code.Seto_rm8, Code.Setp_rm8];

    private static readonly Code[] s_shifts =
        [Code.Shl_rm64_imm8, Code.Shr_rm64_imm8, Code.Sar_rm64_imm8, Code.Shl_rm32_imm8, Code.Shr_rm32_imm8, Code.Sar_rm32_imm8, Code.Rol_rm64_imm8, Code.Ror_rm32_imm8, Code.Rcl_rm64_imm8, Code.Rcr_rm32_imm8];

    private static readonly Code[] s_immediate =
        [Code.Add_rm64_imm32, Code.Adc_rm32_imm32, Code.Sub_rm64_imm32, Code.Sbb_rm32_imm32, Code.And_rm64_imm32, Code.Or_rm32_imm32, Code.Xor_rm64_imm32, Code.Cmp_rm64_imm32, Code.Test_rm32_imm32, Code.Mov_rm64_imm32];

    private static readonly Code[] s_jumps = [Code.Jb_rel8_64, Code.Jae_rel8_64, Code.Je_rel8_64, Code.Jne_rel8_64, Code.Js_rel8_64, Code.Jl_rel8_64, Code.Jo_rel8_64, Code.Jp_rel8_64, Code.Jmp_rel8_64];

    private static readonly Code[] s_vectors =
    [
        Code.Paddd_xmm_xmmm128, Code.Psubw_xmm_xmmm128, Code.Pxor_xmm_xmmm128, Code.Pand_xmm_xmmm128, Code.Pcmpeqb_xmm_xmmm128, Code.Pmuludq_xmm_xmmm128, Code.Punpcklbw_xmm_xmmm128, Code.Packuswb_xmm_xmmm128,
        Code.Addps_xmm_xmmm128, Code.Mulpd_xmm_xmmm128, Code.Subsd_xmm_xmmm64, Code.Divss_xmm_xmmm32, Code.Sqrtsd_xmm_xmmm64, Code.Cvtdq2ps_xmm_xmmm128, Code.Movaps_xmm_xmmm128, Code.Minpd_xmm_xmmm128, Code.Pshufb_xmm_xmmm128,
    ];

    private readonly Assembler _a = new(64);
    private readonly InstructionInfoFactory _information = new();
    private readonly OracleState _anyState = default;
    private readonly bool _isKernel, _isEmulated, _mayLockSplit;
    private ulong _undefined;
    private ulong _everUndefined;

    private ProgramWriter(bool isKernel, bool isFullSystem) => (_isKernel, _isEmulated, _mayLockSplit) = (isKernel, isKernel && !isFullSystem, isFullSystem);

    /// <summary>Writes a program, with the suite's end behind it.</summary>
    /// <param name="genes">What it is made from.</param>
    /// <param name="isKernel">For ring 0.</param>
    /// <param name="isFullSystem">Without regard to what the hosts of <see cref="Vmm.Core.Backends.HypervisorCapabilities.FullSystem"/> do and others do not: see docs/backends.md.</param>
    /// <param name="undefinedAtEnd">The flags that may be undefined when it has come to its end.</param>
    /// <param name="undefined">The flags that may be undefined anywhere: where an exception ends it.</param>
    /// <returns>The assembled program.</returns>
    public static byte[] Write(IReadOnlyList<Gene> genes, bool isKernel, bool isFullSystem, out ulong undefinedAtEnd, out ulong undefined)
    {
        var writer = new ProgramWriter(isKernel, isFullSystem);
        for (var i = 0; i < genes.Count; i++) writer.Add(genes, ref i);
        writer._a.End();
        using var stream = new MemoryStream();
        writer._a.Assemble(new StreamCodeWriter(stream), GuestTables.Program);
        (undefinedAtEnd, undefined) = (writer._undefined, writer._everUndefined);
        return stream.ToArray();
    }

    private void Add(IReadOnlyList<Gene> genes, ref int index)
    {
        var gene = genes[index];
        var (a, b) = (Pick(s_registers, gene.A), Pick(s_registers, gene.B));
        switch (gene.Kind % (_isKernel ? 26 : 18))
        {
            case 0 or 1 or 2:
                Binary(Pick(s_binary, gene.Value), a, b);
                break;
            case 3:
                Put(BinaryToMemory(Pick(s_binary, gene.Value), gene, b));
                break;
            case 4 or 5:
                var code = Pick(s_fromMemory, gene.Value);
                Put(Instruction.Create(code, Sized(a, code.ToOpCode().Op0Kind), Memory(gene)));
                break;
            case 6:
                code = Pick(s_unary, gene.Value);
                Put(gene.B % 3 == 0 ? Instruction.Create(code, Memory(gene)) : Instruction.Create(code, Sized(a, code.ToOpCode().Op0Kind)));
                break;
            case 7:
                code = Pick(s_shifts, gene.Value);
                Put(Instruction.Create(code, Sized(a, code.ToOpCode().Op0Kind), gene.B & 63));
                break;
            case 8:
                code = Pick(s_immediate, gene.B);
                Put(Instruction.Create(code, Sized(a, code.ToOpCode().Op0Kind), gene.Value));
                break;
            case 9:
                Put(Instruction.Create(Code.Push_r64, a));
                Put(Instruction.Create(Code.Pop_r64, b));
                break;
            case 10:
                Put(Instruction.Create(Code.Lea_r64_m, a, new MemoryOperand(b, Register.RSI, 1 << (gene.A & 3), gene.Value, 8)));
                break;
            case 11:
                Jump(genes, ref index);
                break;
            case 12:
                Loop(gene, a, b);
                break;
            case 13:
                Strings(gene);
                break;
            case 14:
                Put(gene.A % 2 == 0 ? Instruction.Create(Code.Bswap_r64, b) : Instruction.Create(Code.Cdqe));
                break;
            case 15:
                Divide(gene, a);
                break;
            case 16:
                Vector(gene);
                break;
            case 17:
                // Rarely: what ends the program by an exception.
                if (gene.Value % 8 == 0) Fault(gene);
                else if (!_isEmulated) Put(Instruction.Create(Code.Popcnt_r64_rm64, a, b));
                break;
            case 18:
                Put(Instruction.Create(Code.Mov_r32_imm32, Register.EDX, Port + (gene.A & 3)));
                Put(Instruction.Create(gene.B % 2 == 0 ? Code.In_EAX_DX : Code.In_AL_DX, gene.B % 2 == 0 ? Register.EAX : Register.AL, Register.DX));
                break;
            case 19:
                Put(Instruction.Create(Code.Mov_r32_imm32, Register.EDX, Port + (gene.A & 3)));
                Put(Instruction.Create(gene.B % 2 == 0 ? Code.Out_DX_EAX : Code.Out_DX_AL, Register.DX, gene.B % 2 == 0 ? Register.EAX : Register.AL));
                break;
            case 20:
                Put(Instruction.Create(Code.Mov_r32_imm32, Register.EDI, (uint)Device + (uint)(gene.A & 0xFF)));
                Put(Instruction.Create(gene.B % 2 == 0 ? Code.Mov_r32_rm32 : Code.Movzx_r32_rm8, Register.EBX, new MemoryOperand(Register.RDI)));
                break;
            case 21:
                Put(Instruction.Create(Code.Mov_r32_imm32, Register.EDI, (uint)Device + (uint)(gene.A & 0xFF)));
                Put(Instruction.Create(gene.B % 2 == 0 ? Code.Mov_rm64_r64 : Code.Add_rm32_r32, new MemoryOperand(Register.RDI), gene.B % 2 == 0 ? Register.RBX : Register.EBX));
                break;
            case 22:
                Put(Instruction.Create(Code.Mov_r64_cr, a, gene.A % 2 == 0 ? Register.CR0 : Register.CR3));
                Put(Instruction.Create(Code.Mov_cr_r64, Register.CR2, b));
                Put(Instruction.Create(Code.Mov_r64_cr, b, Register.CR2));
                break;
            case 23:
                _a.WriteMsr(0xC0000102, (uint)gene.Value);
                _a.ReadMsr(0xC0000102);
                Spoil();
                break;
            case 24:
                // With defined flags only: they go into memory and back.
                if (_undefined != 0) break;
                Put(Instruction.Create(Code.Pushfq));
                Put(Instruction.Create(Code.Pop_r64, a));
                break;
            default:
                Put(Instruction.Create(gene.A % 2 == 0 ? Code.Cli : Code.Cld));
                Put(Instruction.Create(Code.Invlpg_m, new MemoryOperand(Register.RSI, gene.Value & 0x7FF, 8)));
                break;
        }
    }

    private void Jump(IReadOnlyList<Gene> genes, ref int index)
    {
        var gene = genes[index];
        var target = _a.CreateLabel();
        var code = Pick(s_jumps, gene.Value);
        if (!MayRead(Instruction.CreateBranch(code, 0))) return;
        switch (Array.IndexOf(s_jumps, code))
        {
            case 0: _a.jb(target); break;
            case 1: _a.jae(target); break;
            case 2: _a.je(target); break;
            case 3: _a.jne(target); break;
            case 4: _a.js(target); break;
            case 5: _a.jl(target); break;
            case 6: _a.jo(target); break;
            case 7: _a.jp(target); break;
            default: _a.jmp(target); break;
        }

        var before = _undefined;
        for (var left = gene.A % 3 + 1; left > 0 && index + 1 < genes.Count; left--)
        {
            index++;
            // No jump within a jump: a label needs an instruction of its own.
            if (genes[index].Kind % 18 is not (11 or 12)) Add(genes, ref index);
        }

        _a.Label(ref target);
        _a.nop();
        _undefined |= before;
    }

    private void Loop(Gene gene, Register a, Register b)
    {
        var start = _a.CreateLabel();
        _a.mov(AssemblerRegisters.ecx, gene.Value % 5 + 1);
        _a.Label(ref start);
        Spoil(Arithmetic);
        Put(Instruction.Create(Code.Add_rm64_r64, a, b));
        Put(Instruction.Create(Code.Adc_rm64_r64, b, a));
        Put(Instruction.Create(Code.Xor_rm64_r64, new MemoryOperand(Register.RSI, gene.B & 0x7F8, 8), a));
        _a.dec(AssemblerRegisters.ecx);
        _a.jne(start);
        Spoil(Adjust);
    }

    private void Strings(Gene gene)
    {
        _a.cld();
        _a.mov(AssemblerRegisters.ecx, gene.Value % 40);
        _a.lea(AssemblerRegisters.rdi, AssemblerRegisters.__[AssemblerRegisters.rsi + (gene.B & 0x7FF) + 0x800]);
        if (gene.A % 3 == 0) _a.rep.stosb();
        else if (gene.A % 3 == 1) _a.rep.stosq();
        else
        {
            // RSI is put back: everything else relies on it.
            _a.mov(AssemblerRegisters.r15, AssemblerRegisters.rsi);
            _a.rep.movsd();
            _a.mov(AssemblerRegisters.rsi, AssemblerRegisters.r15);
        }
    }

    private void Divide(Gene gene, Register divisor)
    {
        _a.xor(AssemblerRegisters.edx, AssemblerRegisters.edx);
        // Mostly a divisor that works; a zero now and then.
        if (gene.Value % 4 != 0) Put(Instruction.Create(Code.Or_rm32_imm32, Sized(divisor, OpCodeOperandKind.r32_or_mem), gene.Value | 1));
        Put(Instruction.Create(Code.Div_rm32, Sized(divisor, OpCodeOperandKind.r32_or_mem)));
        Spoil(Arithmetic);
    }

    private void Vector(Gene gene)
    {
        if (_isEmulated) return;
        var (x, y) = (Register.XMM0 + (gene.A & 7), Register.XMM0 + (gene.B & 7));
        if (gene.Value % 3 == 0) Put(Instruction.Create(Code.Movups_xmm_xmmm128, x, Memory(gene)));
        else if (gene.Value % 3 == 1) Put(Instruction.Create(Code.Movups_xmmm128_xmm, Memory(gene), x));
        else Put(Instruction.Create(Pick(s_vectors, gene.Value / 3), x, y));
    }

    private void Fault(Gene gene)
    {
        switch (gene.A % 4)
        {
            case 0: _a.ud2(); break;
            case 1: _a.mov(AssemblerRegisters.rax, 0x8000_0000_0000_0000); _a.mov(AssemblerRegisters.ebx, AssemblerRegisters.__dword_ptr[AssemblerRegisters.rax]); break;
            case 2: _a.mov(AssemblerRegisters.eax, (uint)GuestTables.Free); _a.mov(AssemblerRegisters.__dword_ptr[AssemblerRegisters.rax + 4], AssemblerRegisters.ebx); break;
            default: _a.xor(AssemblerRegisters.ecx, AssemblerRegisters.ecx); _a.div(AssemblerRegisters.cl); break;
        }
    }

    private void Binary(Code code, Register a, Register b)
    {
        var kinds = code.ToOpCode();
        Put(Instruction.Create(code, Sized(a, kinds.Op0Kind), Sized(b, kinds.Op1Kind)));
    }

    private static Instruction BinaryToMemory(Code code, Gene gene, Register b)
    {
        // A bit string would reach far from its operand.
        if (code.Mnemonic() is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc) code = Code.Add_rm64_r64;
        return Instruction.Create(code, Memory(gene), Sized(b, code.ToOpCode().Op1Kind));
    }

    private static MemoryOperand Memory(Gene gene) => new(Register.RSI, gene.Value & 0xFFF, 8);

    private void Put(Instruction instruction)
    {
        if (!MayRead(instruction) || (_isEmulated && IsEmulatedWrongly(instruction)) || (!_mayLockSplit && instruction.Mnemonic == Mnemonic.Xchg && (instruction.MemoryDisplacement64 & 7) != 0)) return;
        _a.AddInstruction(ref instruction);
        // Moves to and from control registers leave all flags undefined (Intel SDM vol. 2B, MOV).
        var mask = UndefinedFlags.Mask(instruction, _anyState) | (instruction.Mnemonic == Mnemonic.Mov ? Bits(instruction.RflagsUndefined) : 0);
        _undefined = (_undefined & ~Bits(instruction.RflagsModified)) | mask;

        // A shift or rotation by zero leaves the flags as they were; immediates of zero are made, so what was undefined stays so.
        if (instruction.OpCount == 2 && instruction.Op1Kind == OpKind.Immediate8 && (instruction.Immediate8 & 31) == 0) _undefined |= Carry | Adjust | Overflow;
        _everUndefined |= _undefined;
    }

    private void Spoil(ulong flags = Arithmetic)
    {
        _undefined |= flags;
        _everUndefined |= flags;
    }

    // A failed CMPXCHG of 32-bit registers leaves the destination's upper half alone; KVM's emulator clears it.
    private static bool IsEmulatedWrongly(in Instruction instruction) => instruction.Code == Code.Cmpxchg_rm32_r32 && instruction.Op0Kind == OpKind.Register;

    private bool MayRead(in Instruction instruction) => (Bits(instruction.RflagsRead) & _undefined) == 0 && _information.GetInfo(instruction).GetUsedRegisters().All(r => r.Register.GetFullRegister() != Register.RSI || r.Access is OpAccess.Read or OpAccess.CondRead);

    private static ulong Bits(RflagsBits bits) =>
        ((bits & RflagsBits.CF) != 0 ? 1UL : 0) | ((bits & RflagsBits.PF) != 0 ? 4UL : 0) | ((bits & RflagsBits.AF) != 0 ? 0x10UL : 0)
        | ((bits & RflagsBits.ZF) != 0 ? 0x40UL : 0) | ((bits & RflagsBits.SF) != 0 ? 0x80UL : 0) | ((bits & RflagsBits.OF) != 0 ? 0x800UL : 0);

    private static T Pick<T>(T[] from, int number) => from[(int)((uint)number % (uint)from.Length)];

    private static Register Sized(Register register, OpCodeOperandKind kind)
    {
        var number = register.GetNumber();
        return kind switch
        {
            OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r8_reg => (Register)((int)(number < 4 ? Register.AL : number < 8 ? Register.SPL - 4 : Register.R8L - 8) + number),
            OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r16_reg => Register.AX + number,
            OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r32_reg => Register.EAX + number,
            _ => register,
        };
    }
}
