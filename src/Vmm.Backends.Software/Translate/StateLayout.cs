using Vmm.Backends.Software.Cpu;

namespace Vmm.Backends.Software.Translate;

/// <summary>Bytes from the base register of translated code to the fields it uses, and the constants below the state.</summary>
internal static unsafe class StateLayout
{
    /// <summary>The mask that extracts a TLB index.</summary>
    public const int IndexMask = 0;

    /// <summary>The mask of what must be zero for an access to lie in its page.</summary>
    public const int PageMask = 8;

    /// <summary>The same, for an access that must also be aligned to 16 bytes.</summary>
    public const int AlignedMask = 16;

    /// <summary>The mask that makes of a hash the double of an index of the target cache.</summary>
    public const int TargetMask = 24;

    public static readonly int Rip = At(s => (byte*)&s->Rip);
    public static readonly int SystemFlags = At(s => (byte*)&s->SystemFlags);
    public static readonly int Budget = At(s => (byte*)&s->Budget);
    public static readonly int Events = At(s => (byte*)&s->Events);
    public static readonly int Mxcsr = At(s => (byte*)&s->Mxcsr);
    public static readonly int Ymm = At(s => (byte*)&s->Ymm);
    public static readonly int HostStack = At(s => (byte*)&s->Translator.HostStack);
    public static readonly int HostFlags = At(s => (byte*)&s->Translator.HostFlags);
    public static readonly int Site = At(s => (byte*)&s->Translator.Site);
    public static readonly int Linear = At(s => (byte*)&s->Translator.Linear);
    public static readonly int Return = At(s => (byte*)&s->Translator.Return);
    public static readonly int Scratch0 = At(s => (byte*)&s->Translator.Scratch0);
    public static readonly int AccessCallback = At(s => (byte*)&s->Translator.AccessCallback);
    public static readonly int WindowCallback = At(s => (byte*)&s->Translator.WindowCallback);
    public static readonly int OperationCallback = At(s => (byte*)&s->Translator.OperationCallback);
    public static readonly int Cpl = At(s => (byte*)&s->Cpl);
    public static readonly int KernelGsBase = At(s => (byte*)&s->KernelGsBase);
    public static readonly int ArithmeticMask = At(s => (byte*)&s->Translator.ArithmeticMask);
    public static readonly int InterruptMask = At(s => (byte*)&s->Translator.InterruptMask);
    public static readonly int AccessMask = At(s => (byte*)&s->Translator.AccessMask);
    public static readonly int PushedMask = At(s => (byte*)&s->Translator.PushedMask);
    public static readonly int DirectionMask = At(s => (byte*)&s->Translator.DirectionMask);
    public static readonly int ModeMask = At(s => (byte*)&s->Translator.ModeMask);
    public static readonly int NestedMask = At(s => (byte*)&s->Translator.NestedMask);
    public static readonly int SysretMask = At(s => (byte*)&s->Translator.SysretMask);
    public static readonly int ReturnMask = At(s => (byte*)&s->Translator.ReturnMask);
    public static readonly int TimeCallback = At(s => (byte*)&s->Translator.TimeCallback);
    public static readonly int TimeMask = At(s => (byte*)&s->Translator.TimeMask);
    public static readonly int BasesMask = At(s => (byte*)&s->Translator.BasesMask);
    public static readonly int CanonicalMask = At(s => (byte*)&s->Translator.CanonicalMask);
    public static readonly int AlikeMask = At(s => (byte*)&s->Translator.AlikeMask);
    public static readonly int Sign32 = At(s => (byte*)&s->Translator.Sign32);
    public static readonly int Word32 = At(s => (byte*)&s->Translator.Word32);
    public static readonly int Bit32 = At(s => (byte*)&s->Translator.Bit32);
    public static readonly int Sign64 = At(s => (byte*)&s->Translator.Sign64);
    public static readonly int Word64 = At(s => (byte*)&s->Translator.Word64);
    public static readonly int Bit64 = At(s => (byte*)&s->Translator.Bit64);
    public static readonly int SyscallMask = At(s => (byte*)&s->Translator.SyscallMask);
    public static readonly int SyscallCode = At(s => (byte*)&s->Translator.SyscallCode);
    public static readonly int SyscallStack = At(s => (byte*)&s->Translator.SyscallStack);
    public static readonly int SysretCode = At(s => (byte*)&s->Translator.SysretCode);
    public static readonly int SysretStack = At(s => (byte*)&s->Translator.SysretStack);
    public static readonly int UserReturn = At(s => (byte*)&s->Translator.UserReturn);
    public static readonly int KernelReturn = At(s => (byte*)&s->Translator.KernelReturn);
    public static readonly int CallsOff = At(s => (byte*)&s->Translator.CallsOff);
    public static readonly int NmiHeld = At(s => (byte*)&s->Translator.NmiHeld);
    public static readonly int Scratch1 = At(s => (byte*)&s->Translator.Scratch1);
    public static readonly int Mode = At(s => (byte*)&s->Mode);
    public static readonly int Lstar = At(s => (byte*)&s->Lstar);
    public static readonly int Cr0 = At(s => (byte*)&s->Cr0);
    public static readonly int Cr2 = At(s => (byte*)&s->Cr2);
    public static readonly int Cr3 = At(s => (byte*)&s->Cr3);
    public static readonly int Cr4 = At(s => (byte*)&s->Cr4);
    public static readonly int HeldBack = At(s => (byte*)&s->Translator.HeldBack);
    public static readonly int X87Callback = At(s => (byte*)&s->Translator.X87Callback);
    public static readonly int X87Dead = At(s => (byte*)&s->Translator.X87Dead);
    public static readonly int X87Saved = At(s => (byte*)&s->Translator.X87Saved);
    public static readonly int X87Ip = At(s => (byte*)&s->X87.LastIp);
    public static readonly int X87Dp = At(s => (byte*)&s->X87.LastDp);
    public static readonly int X87Cs = At(s => (byte*)&s->X87.LastCs);
    public static readonly int X87Ds = At(s => (byte*)&s->X87.LastDs);
    public static readonly int Owner = At(s => (byte*)&s->Translator.Owner);
    public static readonly int VectorMask = At(s => (byte*)&s->Translator.VectorMask);
    public static readonly int Aligned32Mask = At(s => (byte*)&s->Translator.Aligned32Mask);
    public static readonly int VectorDead = At(s => (byte*)&s->Translator.VectorDead);
    public static readonly int HalfMask = At(s => (byte*)&s->Translator.HalfMask);
    public static readonly int OffsetMask = At(s => (byte*)&s->Translator.OffsetMask);
    public static readonly int TimeBase = At(s => (byte*)&s->Translator.TimeBase);
    public static readonly int TimeLimit = At(s => (byte*)&s->Translator.TimeLimit);
    public static readonly int TimeScale = At(s => (byte*)&s->Translator.TimeScale);
    public static readonly int TimeValue = At(s => (byte*)&s->Translator.TimeValue);
    public static readonly int TimeLast = At(s => (byte*)&s->Translator.TimeLast);
    public static readonly int SpaceTag = At(s => (byte*)&s->Translator.SpaceTag);
    public static readonly int TlbJournaled = At(s => (byte*)&s->Translator.TlbJournaled);
    public static readonly int TargetsJournaled = At(s => (byte*)&s->Translator.TargetsJournaled);
    public static readonly int HostMxcsr = At(s => (byte*)&s->Translator.HostMxcsr);

    /// <summary>Fields of a window.</summary>
    public const int WindowNegated = 0, WindowMask = 8, WindowAddend = 16, WindowLeft = 24, WindowMoves = 28, WindowUnlisted = 32;

    /// <summary>A window.</summary>
    public static int Window(int number) => VcpuMemory.WindowsOffset + number * sizeof(Mmu.Window);

    /// <summary>How many windows have moved by themselves; their list follows.</summary>
    public static readonly int MovedWindows = VcpuMemory.WindowsOffset + Mmu.Windows.WindowsBytes;

    /// <summary>Where the addend of a group of accesses is kept.</summary>
    public static int GroupAddend(int slot) => s_firstAddend + slot * 8;

    /// <summary>The base of FS (4) or GS (5).</summary>
    public static int SegmentBase(int segment) => s_firstBase + segment * sizeof(Vmm.Core.X86.SegmentState);

    /// <summary>Limit, selector and attributes of a segment register, in 8 bytes.</summary>
    public static int SegmentRest(int segment) => SegmentBase(segment) + 8;

    /// <summary>The selector of a segment register, which follows its base and limit.</summary>
    public static int Selector(int segment) => SegmentBase(segment) + 12;

    private static readonly int s_firstAddend = At(s => (byte*)&s->Translator.GroupAddends);

    // The base is a segment's first field.
    private static readonly int s_firstBase = At(s => (byte*)&s->Seg);

    /// <summary>The negated tags of a TLB array; the addends follow.</summary>
    public static int TlbTags(int view, bool write) => VcpuMemory.TlbOffset + (view * 2 + (write ? 1 : 0)) * Mmu.Tlb.ArrayBytes;

    private delegate byte* Field(CpuState* state);

    // SAFETY: only addresses of fields are computed, from a state that is not read.
    private static int At(Field field)
    {
        CpuState state;
        return (int)(field(&state) - (byte*)&state) + VcpuMemory.StateOffset;
    }
}
