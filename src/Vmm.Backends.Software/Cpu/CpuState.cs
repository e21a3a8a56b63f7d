using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Cpu;

/// <summary>
/// What one processor holds, in one unmanaged block with fixed offsets that interpreter and translator share. It lives in
/// native memory, so it never moves.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CpuState
{
    /// <summary>16 general registers in encoding order; slot 16 is always zero, slot 17 the RIP of the current block's first byte.</summary>
    public GprFile Gpr;

    /// <summary>The instruction pointer; up to date only between blocks and when an event is being served.</summary>
    public ulong Rip;

    /// <summary>Lazy flags: the sign-extended result that ZF, SF and PF derive from. See <see cref="LazyFlags"/>.</summary>
    public ulong FlagsResult;

    /// <summary>Lazy flags: carries and corrections. See <see cref="LazyFlags"/>.</summary>
    public ulong FlagsAux;

    /// <summary>RFLAGS without the six arithmetic flags; bit 1 set.</summary>
    public ulong SystemFlags;

    /// <summary>Instructions left until the run loop looks around; negative leaves the block chain.</summary>
    public long Budget;

    /// <summary>Non-zero when something waits for this processor: an interrupt, a kick, an invalidation. Written by any thread.</summary>
    public int Events;

    /// <summary>The decode mode of the next block; see <see cref="CpuMode"/>.</summary>
    public uint Mode;

    /// <summary>Current privilege level.</summary>
    public int Cpl;

    /// <summary>What the stack pointer wraps at: 0xFFFF, 0xFFFFFFFF or all ones.</summary>
    public ulong StackMask;

    /// <summary>The last valid RIP: CS limit, or all ones in 64-bit mode.</summary>
    public ulong CodeLimit;

    /// <summary>ES, CS, SS, DS, FS, GS, LDTR, TR.</summary>
    public SegmentFile Seg;

    /// <summary>Interrupt vector of the fault being raised; -1 for none.</summary>
    public int FaultVector;

    /// <summary>Its error code.</summary>
    public uint FaultError;

    public ulong Cr0, Cr2, Cr3, Cr4, Efer, Xcr0;

    /// <summary>The MSRs that system calls and SWAPGS use.</summary>
    public ulong Star, Lstar, Fmask, KernelGsBase;
    public ulong GdtBase, IdtBase;
    public uint GdtLimit, IdtLimit;
    public uint Pkru;
    public uint Mxcsr;
    public DebugFile Dr;

    /// <summary>16 YMM registers; the XMM register is the low half.</summary>
    public YmmFile Ymm;

    /// <summary>The x87 registers by physical number, control, status and tags.</summary>
    public X87State X87;

    /// <summary>What translated code and its entry and exit stubs keep here; nothing of it is guest state.</summary>
    public TranslatorState Translator;
}

/// <summary>See <see cref="CpuState.Translator"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TranslatorState
{
    /// <summary>The stack pointer of the C# caller while translated code runs.</summary>
    public ulong HostStack;

    /// <summary>Arithmetic flags as RFLAGS has them, at entries and exits.</summary>
    public ulong HostFlags;

    /// <summary>The place of code that left or called: an index into the translator's list of sites.</summary>
    public ulong Site;

    /// <summary>The linear address of an access that the TLB did not cover.</summary>
    public ulong Linear;

    /// <summary>Where a called stub goes on.</summary>
    public ulong Return;

    /// <summary>Scratch words of translated code.</summary>
    public ulong Scratch0, Scratch1;

    /// <summary>Functions that translated code calls.</summary>
    public nint AccessCallback, WindowCallback, OperationCallback, X87Callback, TimeCallback;

    /// <summary>A handle of the <see cref="Vcpu"/>, for those functions.</summary>
    public nint Owner;

    /// <summary>The mask of MXCSR's exception masks: vector code runs only while all are set.</summary>
    public ulong VectorMask;

    /// <summary>As the page mask, for accesses that must be aligned to 32 bytes.</summary>
    public ulong Aligned32Mask;

    /// <summary>The arithmetic flags; all but IF; all but AC; what PUSHF shows of the others.</summary>
    public ulong ArithmeticMask, InterruptMask, AccessMask, PushedMask;

    /// <summary>All but DF; TF and AC, which change how code runs; NT; what SYSRET and what IRET load of the flags that are not arithmetic.</summary>
    public ulong DirectionMask, ModeMask, NestedMask, SysretMask, ReturnMask;

    /// <summary>CR4.TSD; CR4.FSGSBASE and LA57; the bits of an address that are all alike in a canonical one; bits 1 to 16.</summary>
    public ulong TimeMask, BasesMask, CanonicalMask, AlikeMask;

    /// <summary>Of a bit offset of 32 and of 64 bits: the sign, the number of the word, the bit in it.</summary>
    public ulong Sign32, Word32, Bit32, Sign64, Word64, Bit64;

    /// <summary>The flags that SYSCALL leaves.</summary>
    public ulong SyscallMask;

    /// <summary>Limit, selector and attributes of what SYSCALL and SYSRET load into CS and SS.</summary>
    public ulong SyscallCode, SyscallStack, SysretCode, SysretStack;

    /// <summary>What IRET to level 3 and within level 0 may load.</summary>
    public ReturnRecord UserReturn, KernelReturn;

    /// <summary>Not zero where SYSCALL and SYSRET are the interpreter's.</summary>
    public int CallsOff;

    /// <summary>Not zero if IRET has to look after NMIs.</summary>
    public int NmiHeld;

    /// <summary>The bits of an address within its page; the highest of them.</summary>
    public ulong OffsetMask, HalfMask;

    /// <summary>What to add to linear addresses of groups of accesses that were checked together.</summary>
    public AddendFile GroupAddends;

    /// <summary>The host's counter when the clock was last asked for the TSC, how long that holds, what a tick adds (with 32 bits behind the point), what it was, and what was last told.</summary>
    public ulong TimeBase, TimeLimit, TimeScale, TimeValue, TimeLast;

    /// <summary>The tag of the current address space, shifted left by two.</summary>
    public uint SpaceTag;

    /// <summary>Entries that were filled since the last switch of address spaces and are not global, in the TLBs and in the caches of targets.</summary>
    public int TlbJournaled, TargetsJournaled;

    /// <summary>Zero if no interrupt waits for IF to be set. Written by any thread.</summary>
    public int HeldBack;

    /// <summary>Zero while the guest's vector registers and MXCSR are in the host's.</summary>
    public uint VectorDead;

    /// <summary>The MXCSR of C# code.</summary>
    public uint HostMxcsr;

    /// <summary>Zero while the guest's x87 registers are in the host's.</summary>
    public uint X87Dead;

    /// <summary>Not zero while they are in the XSAVE image (<see cref="VcpuMemory.X87Image"/>) and nowhere else.</summary>
    public uint X87Saved;
}

/// <summary>Descriptors that the interpreter has found good for an IRET. As long as they are the same in memory, they are.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ReturnRecord
{
    /// <summary>Negated selectors; 1 for none.</summary>
    public ulong CodeSelector, StackSelector;

    /// <summary>Linear addresses of the descriptors.</summary>
    public ulong CodeAddress, StackAddress;

    /// <summary>The negated descriptors.</summary>
    public ulong CodeDescriptor, StackDescriptor;

    /// <summary>Limit, selector and attributes.</summary>
    public ulong Code, Stack;
}

/// <summary>18 slots of 8 bytes; see <see cref="CpuState.Gpr"/>.</summary>
[InlineArray(18)]
internal struct GprFile
{
    private ulong _first;
}

/// <summary>See <see cref="TranslatorState.GroupAddends"/>.</summary>
[InlineArray(Translate.AccessPlan.Slots)]
internal struct AddendFile
{
    private ulong _first;
}

/// <summary>Eight segment registers.</summary>
[InlineArray(8)]
internal struct SegmentFile
{
    private SegmentState _first;
}

/// <summary>DR0 to DR7.</summary>
[InlineArray(8)]
internal struct DebugFile
{
    private ulong _first;
}

/// <summary>16 registers of 32 bytes.</summary>
[InlineArray(16)]
internal struct YmmFile
{
    private System.Runtime.Intrinsics.Vector256<ulong> _first;
}

/// <summary>One x87 register: 80 bits in 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct X87Register
{
    public ulong Significand;
    public ushort SignExponent;
}

/// <summary>Eight x87 registers by physical number (R0 to R7); ST(i) is R[(TOP + i) &amp; 7].</summary>
[InlineArray(8)]
internal struct X87File
{
    private X87Register _first;
}

/// <summary>The x87 unit (Intel SDM vol. 1, 8.1).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct X87State
{
    public X87File Registers;
    public ushort Control;

    /// <summary>The status word without TOP, which is in <see cref="Top"/>.</summary>
    public ushort Status;

    /// <summary>Bit i set: physical register i is in use (the FXSAVE abridged form).</summary>
    public byte Tags;
    public byte Top;
    public ushort LastOpcode;
    public ushort LastCs, LastDs;
    public ulong LastIp, LastDp;
}
