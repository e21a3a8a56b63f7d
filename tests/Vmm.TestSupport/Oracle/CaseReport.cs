using System.Globalization;
using System.Text;
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>Writes a case and two results so that somebody can find the error without running it again.</summary>
public static class CaseReport
{
    /// <summary>The case, its inputs that matter, and the differences.</summary>
    public static string Write(OracleCase subject, in OracleState expected, IReadOnlyList<string> differences)
    {
        var text = new StringBuilder();
        Instruction instruction = subject.Instruction;
        text.Append(CultureInfo.InvariantCulture, $"{subject.Code} seed {subject.Seed}: {Convert.ToHexString(subject.Bytes)}  {instruction} at 0x{instruction.IP:X}\n");
        foreach (string difference in differences)
        {
            text.Append("    ").Append(difference).Append('\n');
        }

        text.Append(CultureInfo.InvariantCulture, $"  native ended with {expected.Fault}, RIP 0x{expected.Rip:X}; flags in: {ResultComparer.Flags(subject.State.Rflags)}\n");
        InstructionInfo info = new InstructionInfoFactory().GetInfo(instruction);
        var written = new HashSet<Register>();
        bool x87 = CodeTraits.Of(instruction.Code).UsesFpu;
        foreach (UsedRegister used in info.GetUsedRegisters())
        {
            Register full = used.Register.GetFullRegister();
            if (!written.Add(full))
            {
                continue;
            }

            if (full.IsGPR64())
            {
                int i = full - Register.RAX;
                text.Append(CultureInfo.InvariantCulture, $"    {GprFile.NameOf(i)} in 0x{subject.State.Gpr[i]:X16}, native out 0x{expected.Gpr[i]:X16}\n");
            }
            else if (full.IsVectorRegister())
            {
                int i = full.GetNumber();
                text.Append(CultureInfo.InvariantCulture, $"    YMM{i} in {ResultComparer.Hex(subject.State.Fpu.Ymm(i))}, native out {ResultComparer.Hex(expected.Fpu.Ymm(i))}\n");
            }
        }

        if (CodeTraits.Of(instruction.Code).UsesVectors)
        {
            text.Append(CultureInfo.InvariantCulture, $"    MXCSR in 0x{subject.State.Fpu.Mxcsr:X}, native out 0x{expected.Fpu.Mxcsr:X}\n");
        }

        if (x87)
        {
            WriteX87(text, "in", subject.State.Fpu);
            WriteX87(text, "native out", expected.Fpu);
        }

        foreach (UsedMemory memory in info.GetUsedMemory())
        {
            if (memory.TryGetVirtualAddress(0, new RegisterProvider(subject), out ulong address))
            {
                int size = Math.Clamp(memory.MemorySize.GetSize(), 1, 64);
                ulong offset = address - subject.DataAddress;
                string bytes = offset < (ulong)subject.Data.Length ? Convert.ToHexString(subject.Data.AsSpan((int)offset, Math.Min(size, subject.Data.Length - (int)offset))) : "outside";
                text.Append(CultureInfo.InvariantCulture, $"    [0x{address:X}] (data +0x{offset:X}, {memory.MemorySize}, {memory.Access}) in {bytes}\n");
            }
        }

        return text.ToString();
    }

    /// <summary>The x87 part of a state, in one line.</summary>
    public static void WriteX87(StringBuilder text, string title, in XsaveImage fpu)
    {
        text.Append(CultureInfo.InvariantCulture, $"    x87 {title}: FCW {fpu.Fcw:X4} FSW {fpu.Fsw:X4} FTW {fpu.Ftw:X2} ST");
        for (int i = 0; i < 8; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $" {fpu.StSignExponent(i):X4}.{fpu.StMantissa(i):X16}");
        }

        text.Append('\n');
    }
}
