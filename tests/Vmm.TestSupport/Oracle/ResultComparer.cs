using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>Compares the results of two engines for one case, leaving out what is undefined.</summary>
public static class ResultComparer
{
    private const ulong ComparedFlags = 0x24_4DD5;
    private const int ApproximateMantissaUlps = 8;

    /// <summary>
    /// Whether <paramref name="actual"/> is what <paramref name="expected"/> (the host CPU) allows. It allocates nothing if all bits are equal;
    /// otherwise <see cref="Describe"/> tells the differences.
    /// </summary>
    public static bool AreEqual(OracleCase subject, in OracleState expected, ReadOnlySpan<byte> expectedData, in OracleState actual, ReadOnlySpan<byte> actualData) =>
        (BitsEqual(expected, actual) && expectedData.SequenceEqual(actualData))
        || Differences(subject, expected, expectedData, actual, actualData).Count == 0;

    /// <summary>All differences, one line each; empty if the results agree.</summary>
    public static IReadOnlyList<string> Differences(
        OracleCase subject, in OracleState expected, ReadOnlySpan<byte> expectedData, in OracleState actual, ReadOnlySpan<byte> actualData)
    {
        var found = new List<string>();
        Instruction instruction = subject.Instruction;
        if (Undecided.IsWhole(instruction, expected, actual))
        {
            return found;
        }

        bool completed = !expected.Fault.IsFault;
        bool approximate = CodeCatalogue.TryGet(instruction.Code, out CatalogueEntry entry) && entry.Comparability == Comparability.Approximate;
        bool destinationUndefined = completed && UndefinedFlags.IsDestinationUndefined(instruction, subject.State);
        Register destination = destinationUndefined && instruction.Op0Kind == OpKind.Register ? instruction.Op0Register.GetFullRegister() : Register.None;
        if (!expected.Fault.Equals(actual.Fault) && !Undecided.AreSame(instruction, expected.Fault, actual.Fault))
        {
            found.Add($"fault: {expected.Fault} native, {actual.Fault} here");
        }

        Add(found, "RIP", expected.Rip, actual.Rip);
        for (int i = 0; i < 16; i++)
        {
            if (destination != Register.RAX + i)
            {
                Add(found, GprFile.NameOf(i), expected.Gpr[i] & Undecided.RegisterMask(instruction, subject.State, expected.Fault, i), actual.Gpr[i] & Undecided.RegisterMask(instruction, subject.State, expected.Fault, i));
            }
        }

        ulong flags = ComparedFlags & ~(completed || instruction.Mnemonic is Mnemonic.Div or Mnemonic.Idiv ? UndefinedFlags.Mask(instruction, subject.State) : 0);
        if (Undecided.AreFlagsOpen(instruction, expected.Fault)) flags &= ~UndefinedFlags.All;
        if (((expected.Rflags ^ actual.Rflags) & flags) != 0)
        {
            found.Add($"RFLAGS: {Flags(expected.Rflags & flags)} native, {Flags(actual.Rflags & flags)} here");
        }

        CompareVectors(found, subject, expected, actual, approximate);
        if (!Undecided.IsStackOpen(instruction, expected.Fault)) CompareX87(found, expected.Fpu, actual.Fpu, approximate);
        if (!destinationUndefined && !Undecided.IsStorePartial(instruction, expected.Fault))
        {
            CompareData(found, subject, expectedData, actualData);
        }

        return found;
    }

    /// <summary>All differences after a sequence, one line each; empty if the results agree.</summary>
    public static IReadOnlyList<string> Differences(
        OracleSequence subject, in OracleState expected, ReadOnlySpan<byte> expectedData, in OracleState actual, ReadOnlySpan<byte> actualData)
    {
        var found = new List<string>();
        if (!expected.Fault.Equals(actual.Fault))
        {
            found.Add($"fault: {expected.Fault} native, {actual.Fault} here");
        }

        Add(found, "RIP", expected.Rip, actual.Rip);
        for (int i = 0; i < 16; i++)
        {
            Add(found, GprFile.NameOf(i), expected.Gpr[i], actual.Gpr[i]);
        }

        ulong flags = ComparedFlags & ~(expected.Fault.IsFault ? subject.UndefinedAnywhere : subject.UndefinedAtEnd);
        if (((expected.Rflags ^ actual.Rflags) & flags) != 0)
        {
            found.Add($"RFLAGS: {Flags(expected.Rflags & flags)} native, {Flags(actual.Rflags & flags)} here");
        }

        CompareVectors(found, null, expected, actual, false);
        CompareX87(found, expected.Fpu, actual.Fpu, false);
        int at = expectedData.CommonPrefixLength(actualData);
        if (at != expectedData.Length)
        {
            int length = Math.Min(32, expectedData.Length - at);
            found.Add($"data +0x{at:X}: {Convert.ToHexString(expectedData.Slice(at, length))} native, {Convert.ToHexString(actualData.Slice(at, length))} here");
        }

        return found;
    }

    /// <summary>Whether results are equal in all bits that are always defined: a quick test before <c>Differences</c>.</summary>
    private static bool BitsEqual(in OracleState a, in OracleState b)
    {
        // Fop, Fip and Fdp differ between vendors and are left out; so are RFLAGS bits outside the mask.
        OracleState x = a, y = b;
        x.Fpu.Fop = y.Fpu.Fop = 0;
        x.Fpu.Fip = y.Fpu.Fip = x.Fpu.Fdp = y.Fpu.Fdp = 0;
        x.Rflags &= ComparedFlags;
        y.Rflags &= ComparedFlags;
        x.Fault = y.Fault = default;
        return a.Fault.Equals(b.Fault) && MemoryMarshal.AsBytes(new ReadOnlySpan<OracleState>(in x)).SequenceEqual(MemoryMarshal.AsBytes(new ReadOnlySpan<OracleState>(in y)));
    }

    private static void CompareVectors(List<string> found, OracleCase? subject, in OracleState expected, in OracleState actual, bool approximate)
    {
        int openNaNs = subject is null ? 0 : Undecided.OpenNaNs(subject.Instruction);
        for (int i = 0; i < 16; i++)
        {
            Vector256<byte> e = expected.Fpu.Ymm(i), a = actual.Fpu.Ymm(i);
            if (e == a || (approximate && AreClose(e.AsSingle(), a.AsSingle())) || (openNaNs != 0 && AreNumbersEqual(e, a, openNaNs == 8)))
            {
                continue;
            }

            if (subject is null || Undecided.Settle(subject.Instruction, expected.Fault, i, e) != Undecided.Settle(subject.Instruction, expected.Fault, i, a))
            {
                found.Add($"YMM{i}: {Hex(e)} native, {Hex(a)} here");
            }
        }

        uint ignored = subject is null ? 0 : Undecided.Mxcsr(subject.Instruction, expected.Fault);
        if (((expected.Fpu.Mxcsr ^ actual.Fpu.Mxcsr) & ~ignored) != 0)
        {
            Add(found, "MXCSR", expected.Fpu.Mxcsr, actual.Fpu.Mxcsr);
        }
    }

    // Alike but for the payloads of NaNs.
    private static bool AreNumbersEqual(Vector256<byte> expected, Vector256<byte> actual, bool isDouble) => isDouble
        ? ((Vector256.Equals(expected.AsUInt64(), actual.AsUInt64()) | (Vector256.IsNaN(expected.AsDouble()) & Vector256.IsNaN(actual.AsDouble())).AsUInt64()) == Vector256<ulong>.AllBitsSet)
        : ((Vector256.Equals(expected.AsUInt32(), actual.AsUInt32()) | (Vector256.IsNaN(expected.AsSingle()) & Vector256.IsNaN(actual.AsSingle())).AsUInt32()) == Vector256<uint>.AllBitsSet);

    private static bool AreClose(Vector256<float> expected, Vector256<float> actual)
    {
        for (int i = 0; i < 8; i++)
        {
            float e = expected[i], a = actual[i];
            bool close = BitConverter.SingleToUInt32Bits(e) == BitConverter.SingleToUInt32Bits(a) || Math.Abs((double)e - a) <= Math.Abs((double)e) / 1024;
            if (!close)
            {
                return false;
            }
        }

        return true;
    }

    private static void CompareX87(List<string> found, in XsaveImage expected, in XsaveImage actual, bool approximate)
    {
        Add(found, "FCW", expected.Fcw, actual.Fcw);
        ushort ignored = approximate ? (ushort)0x0220 : (ushort)0;
        if (((expected.Fsw ^ actual.Fsw) & ~ignored) != 0)
        {
            Add(found, "FSW", expected.Fsw, actual.Fsw);
        }

        Add(found, "FTW", expected.Ftw, actual.Ftw);
        for (int i = 0; i < 8; i++)
        {
            ushort e = expected.StSignExponent(i), a = actual.StSignExponent(i);
            ulong em = expected.StMantissa(i), am = actual.StMantissa(i);
            bool close = approximate && (e == a ? Math.Abs((long)(em - am)) <= ApproximateMantissaUlps : Math.Abs(e - a) == 1 && (em - am + ApproximateMantissaUlps & long.MaxValue) <= 2 * ApproximateMantissaUlps);
            if ((e != a || em != am) && !close)
            {
                found.Add($"ST{i}: {e:X4}.{em:X16} native, {a:X4}.{am:X16} here");
            }
        }
    }

    private static void CompareData(List<string> found, OracleCase subject, ReadOnlySpan<byte> expected, ReadOnlySpan<byte> actual)
    {
        if (expected.SequenceEqual(actual))
        {
            return;
        }

        ImageMask mask = ImageMask.Of(subject);
        for (int i = 0; i < expected.Length; i++)
        {
            if (expected[i] != actual[i] && !mask.Covers(i))
            {
                int length = Math.Min(32, expected.Length - i);
                found.Add($"data +0x{i:X}: {Convert.ToHexString(expected.Slice(i, length))} native, {Convert.ToHexString(actual.Slice(i, length))} here");
                return;
            }
        }
    }

    private static void Add(List<string> found, string name, ulong expected, ulong actual)
    {
        if (expected != actual)
        {
            found.Add($"{name}: 0x{expected:X} native, 0x{actual:X} here");
        }
    }

    internal static string Hex(Vector256<byte> value) =>
        $"{value.AsUInt64()[3]:X16}_{value.AsUInt64()[2]:X16}_{value.AsUInt64()[1]:X16}_{value.AsUInt64()[0]:X16}";

    internal static string Flags(ulong rflags)
    {
        string names = "";
        foreach ((int bit, string name) in ((int, string)[])[(11, "OF"), (10, "DF"), (8, "TF"), (7, "SF"), (6, "ZF"), (4, "AF"), (2, "PF"), (0, "CF"), (14, "NT"), (18, "AC"), (21, "ID")])
        {
            names += (rflags >> bit & 1) != 0 ? name + " " : "";
        }

        return names.Length == 0 ? "none" : names.TrimEnd();
    }

    /// <summary>The bytes of a state image in memory that hold the last x87 instruction and data pointers, and MXCSR_MASK.</summary>
    private readonly record struct ImageMask(int Start, int From, int To, bool HasMxcsrMask)
    {
        public static ImageMask Of(OracleCase subject)
        {
            Instruction instruction = subject.Instruction;
            (int from, int to) = instruction.Mnemonic switch
            {
                Mnemonic.Fxsave or Mnemonic.Fxsave64 or Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64 => (6, 24),
                Mnemonic.Fnstenv or Mnemonic.Fnsave => instruction.MemorySize is MemorySize.FpuEnv14 or MemorySize.FpuState94 ? (6, 14) : (12, 28),
                _ => (0, 0),
            };
            ulong address = to == 0 ? 0 : instruction.GetVirtualAddress(0, 0, new RegisterProvider(subject).Get);
            return new ImageMask(to == 0 ? 0 : (int)(address - subject.DataAddress), from, to, from == 6 && to == 24);
        }

        public bool Covers(int offset) => (offset - Start >= From && offset - Start < To) || (HasMxcsrMask && offset - Start is >= 28 and < 32);
    }
}
