using Iced.Intel;
using Vmm.Backends.Software.Cpu;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Which host register holds which guest register while translated code runs. RSP is the base of the state (its memory below is
/// a stack of our own, so that signals are safe); RCX, R14 and R15 are free for inserted code, RCX because JRCXZ is the branch
/// that needs no flags. Guest RSP and RCX live in R10 and R11; guest R10, R11, R14 and R15 stay in the state.
/// </summary>
internal static class RegisterMap
{
    public const int Rax = 0, Rcx = 1, Rdx = 2, Rbx = 3, Rsp = 4, Rbp = 5, Rsi = 6, Rdi = 7, R8 = 8, R9 = 9, R10 = 10, R11 = 11, R12 = 12, R13 = 13, R14 = 14, R15 = 15;

    /// <summary>Holds a linear address during an access; free otherwise.</summary>
    public const int Linear = R14;

    /// <summary>Holds the addend during an access; free otherwise.</summary>
    public const int Addend = R15;

    private const int InMemory = -1;

    private static readonly sbyte[] s_host = [Rax, R11, Rdx, Rbx, R10, Rbp, Rsi, Rdi, R8, R9, InMemory, InMemory, R12, R13, InMemory, InMemory];

    /// <summary>The host register of a guest register, or -1 if it stays in memory.</summary>
    public static int HostOf(int guest) => s_host[guest];

    /// <summary>Guest registers that live in host registers.</summary>
    public static ReadOnlySpan<byte> Resident => [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13];

    /// <summary>Bytes from the base register to a guest register's place in the state.</summary>
    public static int Place(int guest) => VcpuMemory.StateOffset + guest * 8;

    /// <summary>The number of a general register of any width; -1 for any other register.</summary>
    public static int Number(Register register) => register.IsGPR() ? register.GetFullRegister() - Register.RAX : -1;

    /// <summary>AH, CH, DH or BH.</summary>
    public static bool IsHighByte(Register register) => register is >= Register.AH and <= Register.BH;

    /// <summary>A host register in the width of a guest's.</summary>
    public static Register Sized(int host, Register like) => like.GetSize() switch
    {
        8 => Register.RAX + host,
        4 => Register.EAX + host,
        2 => Register.AX + host,
        _ => host < 4 ? Register.AL + host : Register.SPL + (host - 4),
    };
}
