// Bare programs: no protocol but the processor's own (Intel SDM vol. 3, chapters 3, 4 and 10).
using Vmm.Core.Errors;
using Vmm.Core.X86;

namespace Vmm.Core.Boot;

/// <summary>
/// Loads bare bytes at an address and starts them in the mode that is wanted, with flat segments and a stack: for samples,
/// tests and sandboxes that bring no kernel. Immutable and thread-safe.
/// <para>
/// In protected and long mode the global descriptor table holds: 0x08 ring-0 code of the other width (32 bits in long mode, 64
/// in protected), 0x10 ring-0 code, 0x18 ring-0 data, 0x20 ring-3 data (selector 0x23), 0x28 ring-3 code (selector 0x2B). It
/// and the page tables lie in the highest free pages below 640 KiB, clear of the program and of the 4 KiB below the stack
/// pointer. SSE is on. There is no interrupt table: an exception is a triple fault until the program loads one.
/// </para>
/// </summary>
/// <param name="program">Machine code and data; not copied, so they must not change while the loader is in use.</param>
public sealed class ProgramBoot(ReadOnlyMemory<byte> program) : IBootLoader
{
    /// <summary>Where programs are loaded if nothing else is said.</summary>
    public const ulong DefaultLoadAddress = 0x8000;

    private const ushort OtherCode = 0x08, Code = 0x10, Data = 0x18, UserData = 0x23, UserCode = 0x2B;
    private const ushort Ring3 = 3 << 5;
    private const ulong IoPrivilege3 = 3 << 12;
    private const int StackReserve = 4096;

    /// <summary>What the program is called in messages.</summary>
    public string Name { get; init; } = "program";

    /// <summary>The mode it starts in.</summary>
    public ProgramMode Mode { get; init; } = ProgramMode.Long;

    /// <summary>The guest-physical address of its first byte.</summary>
    public ulong LoadAddress { get; init; } = DefaultLoadAddress;

    /// <summary>The address of its first instruction, inside the program; null for its first byte.</summary>
    public ulong? Entry { get; init; }

    /// <summary>The stack pointer; null for <see cref="LoadAddress"/>, so that the stack grows down from the program.</summary>
    public ulong? StackPointer { get; init; }

    /// <summary>
    /// Starts it in ring 3 instead of ring 0, with every page open to it and with I/O privilege level 3, so that it may use
    /// ports. Not in real mode.
    /// </summary>
    public bool UserMode { get; init; }

    /// <inheritdoc/>
    public IEnumerable<string> Validate(BootContext context) => Plan(context).Problems;

    /// <inheritdoc/>
    public void Load(BootContext context, VcpuState state) => Plan(context).Commit(state);

    private BootPlan Plan(BootContext context) => BootPlan.Make(context, plan =>
    {
        var image = new BootImage(Name, program);
        var entry = Entry ?? LoadAddress;
        var stack = StackPointer ?? LoadAddress;
        if (image.Length == 0) throw image.Error("length", "it is empty; give at least one instruction.");
        if (!plan.Memory.TryReserve(LoadAddress, image.Length, $"the program '{Name}'"))
        {
            plan.Problem(Name, $"load address 0x{LoadAddress:x}", $"its {image.Length} bytes do not fit there: {plan.Memory.Obstacle(LoadAddress, image.Length)}. Choose another address or give the machine more memory.");
        }

        if (entry < LoadAddress || entry - LoadAddress >= image.Length) plan.Problem(Name, $"entry 0x{entry:x}", $"it is outside the program at 0x{LoadAddress:x}+0x{image.Length:x}; choose an address inside.");
        CheckMode(plan, entry, stack);
        plan.Write(LoadAddress, program);
        if (Mode == ProgramMode.Real)
        {
            plan.Start = state => StartReal(state, entry, stack);
            return;
        }

        if (stack >= StackReserve) plan.Memory.TryReserve(stack - StackReserve, StackReserve, "the stack");
        var isLong = Mode == ProgramMode.Long;
        SegmentState code = isLong ? SegmentState.Code64(Code) : SegmentState.Code32(Code), data = SegmentState.Data32(Data);
        var other = isLong ? SegmentState.Code32(OtherCode) : SegmentState.Code64(OtherCode);
        var userCode = code with { Selector = UserCode, Attributes = (ushort)(code.Attributes | Ring3) };
        var userData = data with { Selector = UserData, Attributes = (ushort)(data.Attributes | Ring3) };
        var gdt = BootCpu.Gdt(other, code, data, userData, userCode);
        var gdtAddress = plan.PlaceLow(Name, "descriptor table", gdt, 0x1000);
        var cr3 = isLong ? BootCpu.IdentityMap(plan, Name, plan.Memory.RamEnd, UserMode) : 0;
        plan.Start = state =>
        {
            var (cs, ds) = UserMode ? (userCode, userData) : (code, data);
            if (isLong) BootCpu.LongMode(state, cr3, gdtAddress, gdt.Length, cs, ds, entry);
            else BootCpu.ProtectedMode(state, gdtAddress, gdt.Length, cs, ds, entry);
            BootCpu.EnableSse(state);
            state.Gpr[4] = stack; // RSP
            if (UserMode) state.Rflags |= IoPrivilege3;
        };
    }, fromTop: true);

    private void CheckMode(BootPlan plan, ulong entry, ulong stack)
    {
        if (!Enum.IsDefined(Mode)) throw new BootImageException(Name, "mode", $"{(int)Mode} is no processor mode; choose Real, Protected or Long.");
        if (UserMode && Mode == ProgramMode.Real) plan.Problem(Name, "mode", "real mode has no ring 3; choose protected or long mode.");
        var (codeLimit, stackLimit, name) = Mode switch
        {
            ProgramMode.Real => (1UL << 20, 1UL << 16, "real"),
            ProgramMode.Protected => (BootPlan.FourGiB, BootPlan.FourGiB, "protected"),
            _ => (BootCpu.MaxIdentityMap, 1UL << 47, "long"),
        };
        if (entry >= codeLimit) plan.Problem(Name, $"entry 0x{entry:x}", $"{name} mode starts below 0x{codeLimit:x}; load the program lower.");
        if (stack >= stackLimit) plan.Problem(Name, $"stack pointer 0x{stack:x}", $"{name} mode's stack pointer is below 0x{stackLimit:x}; choose a lower one.");
    }

    // An entry in the first 64 KiB runs in segment zero, as a boot sector does; any other at the segment that its top digit gives.
    private static void StartReal(VcpuState state, ulong entry, ulong stack)
    {
        BootCpu.RealMode(state, (ushort)(entry >> 4 & 0xF000), (ushort)entry);
        state.Gpr[4] = stack;
    }
}
