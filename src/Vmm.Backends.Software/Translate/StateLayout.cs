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
    public static readonly int OperationCallback = At(s => (byte*)&s->Translator.OperationCallback);
    public static readonly int Cpl = At(s => (byte*)&s->Cpl);
    public static readonly int KernelGsBase = At(s => (byte*)&s->KernelGsBase);
    public static readonly int ArithmeticMask = At(s => (byte*)&s->Translator.ArithmeticMask);
    public static readonly int InterruptMask = At(s => (byte*)&s->Translator.InterruptMask);
    public static readonly int AccessMask = At(s => (byte*)&s->Translator.AccessMask);
    public static readonly int PushedMask = At(s => (byte*)&s->Translator.PushedMask);
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
    public static readonly int HostMxcsr = At(s => (byte*)&s->Translator.HostMxcsr);

    /// <summary>The base of FS (4) or GS (5).</summary>
    public static int SegmentBase(int segment) => s_firstBase + segment * sizeof(Vmm.Core.X86.SegmentState);

    /// <summary>The selector of a segment register, which follows its base and limit.</summary>
    public static int Selector(int segment) => SegmentBase(segment) + 12;

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
