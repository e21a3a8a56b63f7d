using Iced.Intel;
using Vmm.Backends.Software.Cpu;

namespace Vmm.Backends.Software.Translate;

/// <summary>Which instructions the host may do in the guest's place: those whose effect depends on nothing but their operands and the flags.</summary>
internal static class Relocatable
{
    /// <summary>How to translate an instruction in a mode.</summary>
    /// <param name="instruction">The instruction.</param>
    /// <param name="mode">The <see cref="CpuMode"/>.</param>
    /// <param name="counted">Time is counted in instructions, so who asks for it must say where it is.</param>
    public static RelocatableKind Classify(in Instruction instruction, uint mode, bool counted)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Nop or Mnemonic.Endbr64 or Mnemonic.Endbr32 or Mnemonic.Prefetch or Mnemonic.Prefetchnta or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2
                or Mnemonic.Prefetchw or Mnemonic.Reservednop:
                return RelocatableKind.Nothing;
            case Mnemonic.Push or Mnemonic.Pop or Mnemonic.Leave or Mnemonic.Lea: return RelocatableKind.Stack;
            case Mnemonic.Cli or Mnemonic.Sti or Mnemonic.Swapgs or Mnemonic.Stac or Mnemonic.Clac or Mnemonic.Pushfq or Mnemonic.Cld or Mnemonic.Std
                or Mnemonic.Rdfsbase or Mnemonic.Rdgsbase or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase or Mnemonic.Syscall or Mnemonic.Sysretq or Mnemonic.Iretq:
                return RelocatableKind.System;
            case Mnemonic.Rdtsc: return counted ? RelocatableKind.No : RelocatableKind.System;
            case Mnemonic.Div: return instruction.Code is Code.Div_rm32 or Code.Div_rm64 ? RelocatableKind.Divide : RelocatableKind.No;
            case Mnemonic.Jmp or Mnemonic.Call or Mnemonic.Ret: return RelocatableKind.Branch;
            case Mnemonic.Mov: return IsPlainMove(instruction) ? RelocatableKind.Integer : IsSystemRead(instruction) ? RelocatableKind.System : RelocatableKind.No;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc:
                return instruction.Op0Kind == OpKind.Memory && instruction.Op1Kind == OpKind.Register ? RelocatableKind.FarBit : RelocatableKind.Integer;
            case Mnemonic.Cmpxchg16b: return RelocatableKind.Wide;
            case Mnemonic.Add or Mnemonic.Or or Mnemonic.Adc or Mnemonic.Sbb or Mnemonic.And or Mnemonic.Sub or Mnemonic.Xor or Mnemonic.Cmp or Mnemonic.Test
                or Mnemonic.Inc or Mnemonic.Dec or Mnemonic.Neg or Mnemonic.Not or Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Rol
                or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr or Mnemonic.Shld or Mnemonic.Shrd or Mnemonic.Imul or Mnemonic.Mul or Mnemonic.Movzx
                or Mnemonic.Movsx or Mnemonic.Movsxd or Mnemonic.Cbw or Mnemonic.Cwde or Mnemonic.Cdqe or Mnemonic.Cwd or Mnemonic.Cdq or Mnemonic.Cqo
                or Mnemonic.Bsf or Mnemonic.Bsr or Mnemonic.Tzcnt or Mnemonic.Lzcnt or Mnemonic.Popcnt or Mnemonic.Bswap or Mnemonic.Xchg
                or Mnemonic.Xadd or Mnemonic.Cmpxchg or Mnemonic.Andn or Mnemonic.Blsr or Mnemonic.Blsi or Mnemonic.Blsmsk or Mnemonic.Bextr or Mnemonic.Bzhi
                or Mnemonic.Mulx or Mnemonic.Pdep or Mnemonic.Pext or Mnemonic.Rorx or Mnemonic.Sarx or Mnemonic.Shlx or Mnemonic.Shrx or Mnemonic.Adcx or Mnemonic.Adox
                or Mnemonic.Crc32 or Mnemonic.Clc or Mnemonic.Stc or Mnemonic.Cmc or Mnemonic.Lahf or Mnemonic.Sahf or Mnemonic.Lfence or Mnemonic.Mfence or Mnemonic.Sfence or Mnemonic.Movnti:
                return HostHas(instruction) ? RelocatableKind.Integer : RelocatableKind.No;
            case Mnemonic.Movbe: return RelocatableKind.No;
            // Not those whose last bits or steps differ between processors, nor those that may unmask exceptions.
            case Mnemonic.Fadd or Mnemonic.Fiadd or Mnemonic.Faddp or Mnemonic.Fsub or Mnemonic.Fisub or Mnemonic.Fsubp or Mnemonic.Fsubr or Mnemonic.Fisubr or Mnemonic.Fsubrp
                or Mnemonic.Fmul or Mnemonic.Fimul or Mnemonic.Fmulp or Mnemonic.Fdiv or Mnemonic.Fidiv or Mnemonic.Fdivp or Mnemonic.Fdivr or Mnemonic.Fidivr or Mnemonic.Fdivrp
                or Mnemonic.Fabs or Mnemonic.Fchs or Mnemonic.Fsqrt or Mnemonic.Frndint or Mnemonic.Fscale or Mnemonic.Fxtract
                or Mnemonic.Fld or Mnemonic.Fild or Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fisttp
                or Mnemonic.Fld1 or Mnemonic.Fldl2t or Mnemonic.Fldl2e or Mnemonic.Fldpi or Mnemonic.Fldlg2 or Mnemonic.Fldln2 or Mnemonic.Fldz
                or Mnemonic.Fcom or Mnemonic.Fcomp or Mnemonic.Fcompp or Mnemonic.Ficom or Mnemonic.Ficomp or Mnemonic.Fucom or Mnemonic.Fucomp or Mnemonic.Fucompp
                or Mnemonic.Fcomi or Mnemonic.Fcomip or Mnemonic.Fucomi or Mnemonic.Fucomip or Mnemonic.Ftst or Mnemonic.Fxam or Mnemonic.Fxch
                or Mnemonic.Fcmovb or Mnemonic.Fcmove or Mnemonic.Fcmovbe or Mnemonic.Fcmovu or Mnemonic.Fcmovnb or Mnemonic.Fcmovne or Mnemonic.Fcmovnbe or Mnemonic.Fcmovnu
                or Mnemonic.Fincstp or Mnemonic.Fdecstp or Mnemonic.Ffree or Mnemonic.Fnstsw or Mnemonic.Fnstcw or Mnemonic.Wait:
                // With CR0.EM and TS clear they run; the mode says so for SSE.
                return (mode & CpuMode.Sse) != 0 ? RelocatableKind.X87 : RelocatableKind.No;
        }

        if (instruction.FlowControl == FlowControl.ConditionalBranch) return RelocatableKind.Branch;
        if (instruction.ConditionCode != ConditionCode.None && instruction.Op0Kind is OpKind.Register or OpKind.Memory) return RelocatableKind.Integer;
        return IsVector(instruction, mode) ? RelocatableKind.Vector : RelocatableKind.No;
    }

    /// <summary>Whether an instruction with a memory operand is atomic.</summary>
    public static bool IsLocked(in Instruction instruction) => instruction.HasLockPrefix || instruction.Mnemonic == Mnemonic.Xchg;

    /// <summary>The alignment a vector instruction demands of its memory operand; 1 for none.</summary>
    public static int Alignment(in Instruction instruction)
    {
        var size = instruction.MemorySize.GetSize();
        if (size < 16) return 1;
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu or Mnemonic.Pcmpestrm or Mnemonic.Pcmpestrm64 or Mnemonic.Pcmpistrm: return 1;
            case Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqa or Mnemonic.Vmovntdq or Mnemonic.Vmovntdqa or Mnemonic.Vmovntps or Mnemonic.Vmovntpd: return size;
        }

        return instruction.Code.Encoding() == EncodingKind.Legacy ? 16 : 1;
    }

    // Not to or from segment, control or debug registers, nor the forms with an address of 64 bits in the instruction.
    private static bool IsPlainMove(in Instruction instruction) => instruction.Code is Code.Mov_rm8_r8 or Code.Mov_rm16_r16 or Code.Mov_rm32_r32 or Code.Mov_rm64_r64
        or Code.Mov_r8_rm8 or Code.Mov_r16_rm16 or Code.Mov_r32_rm32 or Code.Mov_r64_rm64 or Code.Mov_r8_imm8 or Code.Mov_r16_imm16 or Code.Mov_r32_imm32
        or Code.Mov_r64_imm64 or Code.Mov_rm8_imm8 or Code.Mov_rm16_imm16 or Code.Mov_rm32_imm32 or Code.Mov_rm64_imm32;

    // A segment's selector, or a control register that is a field of the state, into a register.
    private static bool IsSystemRead(in Instruction instruction) =>
        instruction.Code is Code.Mov_rm16_Sreg or Code.Mov_r32m16_Sreg or Code.Mov_r64m16_Sreg
        || (instruction.Code == Code.Mov_r64_cr && instruction.Op1Register is Register.CR0 or Register.CR2 or Register.CR3 or Register.CR4);

    private static bool IsVector(in Instruction instruction, uint mode)
    {
        if ((mode & CpuMode.Sse) == 0) return false;
        var encoding = instruction.Code.Encoding();
        if (encoding == EncodingKind.VEX ? (mode & CpuMode.Avx) == 0 : encoding != EncodingKind.Legacy) return false;
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Ldmxcsr or Mnemonic.Stmxcsr or Mnemonic.Vldmxcsr or Mnemonic.Vstmxcsr or Mnemonic.Maskmovdqu or Mnemonic.Maskmovq or Mnemonic.Vmaskmovdqu or Mnemonic.Vmaskmovps
                or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or Mnemonic.Vpmaskmovq or Mnemonic.Clflush or Mnemonic.Clflushopt or Mnemonic.Clwb or Mnemonic.Fxsave or Mnemonic.Fxrstor
                or Mnemonic.Fxsave64 or Mnemonic.Fxrstor64 or Mnemonic.Emms or Mnemonic.Pause
                // These write RCX, which is not where they would write it.
                or Mnemonic.Pcmpestri or Mnemonic.Pcmpistri or Mnemonic.Vpcmpestri or Mnemonic.Vpcmpistri or Mnemonic.Pcmpestri64 or Mnemonic.Vpcmpestri64:
                return false;
        }

        if (instruction.MemoryIndex.IsXMM() || instruction.MemoryIndex.IsYMM()) return false;
        var vectors = instruction.Mnemonic is Mnemonic.Vzeroupper or Mnemonic.Vzeroall;
        for (var i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register)
            {
                var register = instruction.GetOpRegister(i);
                if (register.IsMM() || register.IsST() || register.IsK() || register.IsZMM()) return false;
                vectors |= register.IsXMM() || register.IsYMM();
            }
            else if (instruction.GetOpKind(i) is not (OpKind.Memory or OpKind.Immediate8 or OpKind.Immediate8_2nd))
            {
                return false;
            }
        }

        return vectors && HostHas(instruction);
    }

    private static bool HostHas(in Instruction instruction)
    {
        foreach (var feature in instruction.Code.CpuidFeatures())
        {
            if (!HostFeatures.Has(feature)) return false;
        }

        return true;
    }
}
