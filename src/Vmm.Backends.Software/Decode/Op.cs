using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Decode;

/// <summary>
/// One decoded instruction. Register operands are byte offsets into the general register file (so AH is 1, CL is 8), or
/// register numbers for XMM/YMM, MMX, x87, segment, control and debug registers. Handlers read it, never write it.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Op
{
    /// <summary>The function that executes it: <c>delegate*&lt;Vcpu, ref Op, ref Op&gt;</c>.</summary>
    public nint Handler;

    /// <summary>The immediate, sign-extended to 64 bits; for a direct branch the target's offset from the block's first byte.</summary>
    public ulong Imm;

    /// <summary>The memory operand's displacement; RIP-relative operands have the block's first byte as base.</summary>
    public ulong Disp;

    /// <summary>First, second and third register operand in the order of Intel syntax, memory and immediates left out.</summary>
    public byte A, B, C, D;

    /// <summary>Byte offsets of base and index register (128, the zero slot, for none; 136 for the block's RIP) and the shift of the index.</summary>
    public byte Base, Index, Scale;

    /// <summary>How the linear address of the memory operand is made; see <see cref="AddressKind"/>.</summary>
    public AddressKind Address;

    /// <summary>Segment of the memory operand: 0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS.</summary>
    public byte Segment;

    /// <summary>Bytes of the instruction.</summary>
    public byte Length;

    /// <summary>Offset of the instruction from the block's first byte.</summary>
    public ushort Offset;

    /// <summary>Prefixes.</summary>
    public OpFlags Flags;

    /// <summary>Operand size in bytes where one handler serves several (1, 2, 4, 8; 16 or 32 for vectors).</summary>
    public byte Size;

    /// <summary>Whatever else a group wants to keep (a condition code, a rounding control).</summary>
    public ushort Extra;
}
