using System.Runtime.CompilerServices;

namespace Vmm.TestSupport.Oracle;

/// <summary>The sixteen general registers in encoding order: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.</summary>
[InlineArray(16)]
public struct GprFile
{
    /// <summary>Index of RAX.</summary>
    public const int Rax = 0;

    /// <summary>Index of RCX.</summary>
    public const int Rcx = 1;

    /// <summary>Index of RDX.</summary>
    public const int Rdx = 2;

    /// <summary>Index of RBX.</summary>
    public const int Rbx = 3;

    /// <summary>Index of RSP.</summary>
    public const int Rsp = 4;

    /// <summary>Index of RBP.</summary>
    public const int Rbp = 5;

    /// <summary>Index of RSI.</summary>
    public const int Rsi = 6;

    /// <summary>Index of RDI.</summary>
    public const int Rdi = 7;

    private ulong _r0;

    /// <summary>The name of register <paramref name="index"/>, upper case.</summary>
    public static string NameOf(int index) => index switch
    {
        0 => "RAX", 1 => "RCX", 2 => "RDX", 3 => "RBX", 4 => "RSP", 5 => "RBP", 6 => "RSI", 7 => "RDI",
        _ => "R" + index.ToString(System.Globalization.CultureInfo.InvariantCulture),
    };
}
