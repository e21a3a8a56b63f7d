using System.Collections.Immutable;
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

public sealed partial class InstructionGenerator
{
    private const Register SequenceBase = Register.R15;

    private static readonly ImmutableArray<Code> s_integers = Pool(t => !t.UsesVectors && !t.UsesFpu);
    private static readonly ImmutableArray<Code> s_vectors = Pool(t => t.UsesVectors && !t.UsesFpu);
    private static readonly ImmutableArray<Code> s_floats = Pool(t => t.UsesFpu);

    /// <summary>The sequence made last; overwritten by the next.</summary>
    public OracleSequence Sequence { get; } = new();

    /// <summary>
    /// Makes a sequence of up to <paramref name="count"/> instructions without branches into <see cref="Sequence"/>: what one leaves in flags,
    /// registers and memory, the next ones use. Memory operands lie around R15, which none of them writes.
    /// </summary>
    /// <param name="count">How many instructions, at most 32.</param>
    /// <param name="seed">The same seed gives the same sequence.</param>
    /// <param name="allowed">Which forms may be used.</param>
    public void GenerateSequence(int count, ulong seed, Func<Code, bool> allowed)
    {
        _random = new OracleRandom(seed ^ 0x5EC0_0000_0000);
        OracleSequence sequence = Sequence;
        sequence.Seed = seed;
        sequence.Length = 0;
        sequence.Instructions.Clear();
        sequence.UndefinedAtEnd = sequence.UndefinedAnywhere = 0;
        StateGenerator.Fill(ref _random, Code.VEX_Vaddps_ymm_ymm_ymmm256, ref sequence.State);
        StateGenerator.FillX87(ref _random, ref sequence.State.Fpu);
        _pattern.CopyTo(sequence.Data, 0);
        ulong ip = sequence.State.Rip = _code + 0x200 + (ulong)_random.Below(0x800);
        sequence.State.Gpr[15] = _data + OracleLayout.PageBytes;
        int kind = _random.Below(10);
        _inSequence = true;
        for (int tries = 0; sequence.Instructions.Count < count && tries < 8 * count; tries++)
        {
            ImmutableArray<Code> pool = kind < 5 ? s_integers : kind < 7 ? s_vectors : kind < 8 ? s_floats
                : _random.Below(3) switch { 0 => s_integers, 1 => s_vectors, _ => s_floats };
            Code code = pool[_random.Below(pool.Length)];
            if (allowed(code))
            {
                TryAppend(code, ref ip);
            }
        }

        _inSequence = false;
    }

    private void TryAppend(Code code, ref ulong ip)
    {
        OracleSequence sequence = Sequence;
        if (!TryBuild(code, ip, out Instruction instruction))
        {
            return;
        }

        _writer.Length = 0;
        if (!_encoder.TryEncode(instruction, ip, out uint length, out _))
        {
            return;
        }

        var decoder = Decoder.Create(64, new ByteArrayCodeReader(_writer.Bytes, 0, (int)length), ip);
        decoder.Decode(out Instruction decoded);
        if (decoded.Code != code || decoded.Length != length || !MayFollow(decoded))
        {
            return;
        }

        _writer.Bytes.AsSpan(0, (int)length).CopyTo(sequence.Free);
        sequence.Length += (int)length;
        sequence.Instructions.Add(decoded);
        ip += length;
    }

    private bool MayFollow(in Instruction instruction)
    {
        ulong undefined = Sequence.UndefinedAtEnd;
        if ((UndefinedFlags.Bits(instruction.RflagsRead) & undefined) != 0 || UndefinedFlags.IsDestinationUndefined(instruction, Sequence.State))
        {
            return false;
        }

        // Whether SHA instructions need aligned operands is a question of the vendor.
        if (instruction.CpuidFeatures is [CpuidFeature.SHA] && instruction.Op1Kind == OpKind.Memory && (instruction.MemoryDisplacement64 & 15) != 0)
        {
            return false;
        }

        InstructionInfo info = _infoFactory.GetInfo(instruction);
        foreach (UsedRegister used in info.GetUsedRegisters())
        {
            if (used.Register.GetFullRegister() == SequenceBase && used.Access is not (OpAccess.Read or OpAccess.CondRead))
            {
                return false;
            }
        }

        foreach (UsedMemory memory in info.GetUsedMemory())
        {
            if (memory.Base != SequenceBase || memory.Index != Register.None)
            {
                return false;
            }
        }

        undefined = UndefinedFlags.After(instruction, undefined);
        Sequence.UndefinedAtEnd = undefined;
        Sequence.UndefinedAnywhere |= undefined;
        return true;
    }

    private void SetSequenceMemory(ref Instruction instruction)
    {
        int displacement = _random.Between(-3800, 3700);
        instruction.MemoryBase = SequenceBase;
        instruction.MemoryDisplSize = 8;
        instruction.MemoryDisplacement64 = (ulong)(_random.Percent(80) ? displacement & -32 : displacement);
    }

    private static ImmutableArray<Code> Pool(Func<CodeTraits, bool> belongs) =>
        [.. CodeCatalogue.Comparable.Where(e => e.Comparability == Comparability.Exact && belongs(CodeTraits.Of(e.Code)) && MayBeInSequence(e.Code)).Select(e => e.Code)];

    private static bool MayBeInSequence(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        bool bitString = code.Mnemonic() is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc
            && info.Op1Kind is OpCodeOperandKind.r16_reg or OpCodeOperandKind.r32_reg or OpCodeOperandKind.r64_reg;
        return code.FlowControl() == FlowControl.Next && !info.IsPrivileged && !info.IsInputOutput && !info.IsStackInstruction && !info.IsSaveRestore && !bitString
            && code is not (Code.Bsf_r32_rm32 or Code.Bsr_r32_rm32 or Code.Shld_rm16_r16_CL or Code.Shrd_rm16_r16_CL) && !info.MustBeCpl0
            && code.Mnemonic() is not (Mnemonic.Fldenv or Mnemonic.Fnstenv or Mnemonic.Fnsave or Mnemonic.Frstor or Mnemonic.Clac or Mnemonic.Stac or Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr
                or Mnemonic.Dpps or Mnemonic.Dppd or Mnemonic.Vdpps or Mnemonic.Vdppd);
    }
}
