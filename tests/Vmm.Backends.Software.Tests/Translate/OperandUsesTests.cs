using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Translate;
using Xunit;

namespace Vmm.Backends.Software.Tests.Translate;

/// <summary>What is remembered of an instruction holds for all others that are taken for its like.</summary>
public sealed class OperandUsesTests
{
    private const uint Mode = CpuMode.Code64 | CpuMode.Sse | CpuMode.Avx;

    private readonly OperandUses _uses = new();
    private readonly InstructionInfoFactory _information = new();

    [Fact]
    public void Of_RandomInstructions_IsWhatIcedSays()
    {
        var random = new Random(5);
        var bytes = new byte[16];
        var seen = new HashSet<Code>();
        for (var i = 0; i < 400_000; i++)
        {
            random.NextBytes(bytes);
            // Half of them with two bytes of opcode, and most with registers alone.
            if (i % 2 == 0) bytes[i % 3] = 0x0F;
            if (i % 4 < 3) bytes[1 + i % 3] |= 0xC0;
            var decoder = Decoder.Create(64, bytes);
            decoder.Decode(out var instruction);
            if (instruction.IsInvalid || Relocatable.Classify(instruction, Mode, false) is not (RelocatableKind.Integer or RelocatableKind.Vector or RelocatableKind.Divide)) continue;
            seen.Add(instruction.Code);
            Check(instruction);
        }

        Assert.InRange(seen.Count, 500, 5000);
    }

    private void Check(in Instruction instruction)
    {
        var use = _uses.Of(instruction);
        ref readonly var info = ref _information.GetInfo(instruction);
        for (var i = 0; i < instruction.OpCount; i++) Assert.Equal(info.GetOpAccess(i), use.Access(i));
        var written = 0u;
        foreach (var used in info.GetUsedRegisters())
        {
            if (used.Access is not (OpAccess.Read or OpAccess.CondRead) && used.Register.IsGPR()) written |= 1u << (used.Register.GetFullRegister() - Register.RAX);
        }

        Assert.Equal(written, _uses.Written(instruction));
        if (instruction.Op0Kind == OpKind.Memory || instruction.Op1Kind == OpKind.Memory || instruction.Op2Kind == OpKind.Memory) return;
        for (var i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register || !instruction.GetOpRegister(i).IsGPR()) continue;
            var kind = instruction.Code.ToOpCode().GetOpKind(i);
            var takes = kind is OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r64_or_mem;
            Assert.Equal(takes, use.TakesMemory(i));
        }
    }
}
