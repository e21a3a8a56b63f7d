using Vmm.Core.State;

namespace Vmm.Core.X86;

/// <summary>
/// The whole architectural state of one x86-64 processor, the same for every backend, so that a machine saved on one can
/// go on on another. General registers are in encoding order: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
/// A new object is a processor after power-on reset (Intel SDM vol. 3, table 10-1).
/// </summary>
public sealed partial class VcpuState : IStateful
{
    /// <summary>Bytes of <see cref="Xsave"/>: the standard (non-compacted) format up to and with PKRU.</summary>
    public const int XsaveSize = 4096;

    /// <summary>The most MSRs a saved state may hold.</summary>
    public const int MaxMsrs = 1024;

    private static readonly byte[] s_powerOnXsave = MakePowerOnXsave(), s_resetApic = new byte[1024];

    // Made when somebody wants to write to them: most states of a first processor have what it has after power-on.
    private byte[]? _xsave, _apic;

    /// <summary>Makes the power-on state of the bootstrap processor.</summary>
    public VcpuState() => SetPowerOn();

    /// <summary>The 16 general registers in encoding order.</summary>
    public ulong[] Gpr { get; } = new ulong[16];

    /// <summary>The instruction pointer: an offset into CS.</summary>
    public ulong Rip;

    /// <summary>The flags; bit 1 is always set.</summary>
    public ulong Rflags;

    /// <summary>ES, CS, SS, DS, FS, GS in encoding order.</summary>
    public SegmentState[] Segments { get; } = new SegmentState[6];

    /// <summary>The local descriptor table.</summary>
    public SegmentState Ldt;

    /// <summary>The task register.</summary>
    public SegmentState Tr;

    /// <summary>The global descriptor table.</summary>
    public DescriptorTable Gdt;

    /// <summary>The interrupt descriptor table.</summary>
    public DescriptorTable Idt;

    /// <summary>Control register 0.</summary>
    public ulong Cr0;

    /// <summary>Control register 2: the last page-fault address.</summary>
    public ulong Cr2;

    /// <summary>Control register 3.</summary>
    public ulong Cr3;

    /// <summary>Control register 4.</summary>
    public ulong Cr4;

    /// <summary>Control register 8: the task priority.</summary>
    public ulong Cr8;

    /// <summary>Extended control register 0: which XSAVE components are on.</summary>
    public ulong Xcr0;

    /// <summary>The extended feature enable register.</summary>
    public ulong Efer;

    /// <summary>IA32_APIC_BASE.</summary>
    public ulong ApicBase;

    /// <summary>DR0 to DR7 (4 and 5 unused).</summary>
    public ulong[] Debug { get; } = new ulong[8];

    /// <summary>The PDPTEs cached in PAE mode (loaded by MOV to CR3); ignored otherwise.</summary>
    public ulong[] Pdptes { get; } = new ulong[4];

    /// <summary>x87, SSE, AVX and PKRU in the standard XSAVE format (Intel SDM vol. 1, 13.4); components not in its header are in their initial state.</summary>
    public byte[] Xsave => _xsave ??= [.. s_powerOnXsave];

    /// <summary>What <see cref="Xsave"/> holds, to be read.</summary>
    public ReadOnlySpan<byte> ReadXsave() => _xsave ?? s_powerOnXsave;

    /// <summary>The other MSRs (SYSCALL, SYSENTER, FS/GS bases excluded: those are in <see cref="Segments"/>), TSC among them.</summary>
    public MsrValue[] Msrs = [];

    /// <summary>The local APIC's registers, 1 KiB in the layout of the xAPIC page.</summary>
    public byte[] Apic => _apic ??= [.. s_resetApic];

    /// <summary>What <see cref="Apic"/> holds, to be read.</summary>
    public ReadOnlySpan<byte> ReadApic() => _apic ?? s_resetApic;

    /// <summary>Running, halted, or waiting for INIT or SIPI.</summary>
    public MpState MpState;

    /// <summary>Vector of an event whose delivery has begun and must be done (again) before the next instruction, or -1.</summary>
    public short InjectedVector = -1;

    /// <summary>The kind of the injected event: 0 external interrupt, 2 NMI, 3 exception, 4 software interrupt, 6 software exception (the VMCS coding).</summary>
    public byte InjectedType;

    /// <summary>Whether <see cref="InjectedErrorCode"/> is to be pushed.</summary>
    public bool InjectedHasErrorCode;

    /// <summary>The error code of the injected exception.</summary>
    public uint InjectedErrorCode;

    /// <summary>An NMI waits.</summary>
    public bool NmiPending;

    /// <summary>NMIs are blocked until the next IRET.</summary>
    public bool NmiBlocked;

    /// <summary>Interrupts are held off for one instruction: 1 after MOV SS or POP SS, 2 after STI.</summary>
    public byte InterruptShadow;

    /// <summary>The level of the external-interrupt pin.</summary>
    public bool ExternalInterrupt;

    /// <summary>Puts the processor into its power-on state, as the bootstrap processor.</summary>
    public void SetPowerOn()
    {
        Array.Clear(Gpr);
        Array.Clear(Debug);
        Array.Clear(Pdptes);
        if (_xsave is not null) s_powerOnXsave.CopyTo(_xsave, 0);
        if (_apic is not null) Array.Clear(_apic);
        Gpr[2] = 0x00000600;
        (Rip, Rflags) = (0xFFF0, 2);
        Segments.AsSpan().Fill(SegmentState.RealMode(0));
        Segments[1] = new SegmentState(0xFFFF0000, 0xFFFF, 0xF000, 0x9B);
        (Ldt, Tr) = (new SegmentState(0, 0xFFFF, 0, 0x82), new SegmentState(0, 0xFFFF, 0, 0x8B));
        (Gdt, Idt) = (new DescriptorTable(0, 0xFFFF), new DescriptorTable(0, 0xFFFF));
        (Cr0, Cr2, Cr3, Cr4, Cr8) = (0x60000010, 0, 0, 0, 0);
        (Xcr0, Efer, ApicBase) = (1, 0, 0xFEE00900);
        (Debug[6], Debug[7]) = (0xFFFF0FF0, 0x400);
        Msrs = [];
        MpState = MpState.Runnable;
        (InjectedVector, InjectedType, InjectedHasErrorCode, InjectedErrorCode) = (-1, 0, false, 0);
        (NmiPending, NmiBlocked, InterruptShadow, ExternalInterrupt) = (false, false, 0, false);
    }

    // FCW = 0x40 after power-on; MXCSR = 0x1F80; both components marked as in use.
    private static byte[] MakePowerOnXsave()
    {
        var xsave = new byte[XsaveSize];
        (xsave[0], xsave[24], xsave[25], xsave[512]) = (0x40, 0x80, 0x1F, 3);
        return xsave;
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Array(1, Gpr.AsSpan());
        visitor.Field(2, ref Rip);
        visitor.Field(3, ref Rflags);
        for (var i = 0; i < 8; i++)
        {
            ref var segment = ref i < 6 ? ref Segments[i] : ref i == 6 ? ref Ldt : ref Tr;
            var (start, limit, selector, attributes) = segment;
            visitor.Field(10 + i, ref start);
            visitor.Field(20 + i, ref limit);
            visitor.Field(30 + i, ref selector);
            visitor.Field(40 + i, ref attributes);
            segment = new SegmentState(start, limit, selector, attributes);
        }

        var (gdtBase, gdtLimit) = Gdt;
        var (idtBase, idtLimit) = Idt;
        visitor.Field(50, ref gdtBase);
        visitor.Field(51, ref gdtLimit);
        visitor.Field(52, ref idtBase);
        visitor.Field(53, ref idtLimit);
        (Gdt, Idt) = (new DescriptorTable(gdtBase, gdtLimit), new DescriptorTable(idtBase, idtLimit));
        visitor.Field(60, ref Cr0);
        visitor.Field(61, ref Cr2);
        visitor.Field(62, ref Cr3);
        visitor.Field(63, ref Cr4);
        visitor.Field(64, ref Cr8);
        visitor.Field(65, ref Xcr0);
        visitor.Field(66, ref Efer);
        visitor.Field(67, ref ApicBase);
        visitor.Array(68, Debug.AsSpan());
        visitor.Array(69, Pdptes.AsSpan());
        visitor.Array(70, Xsave.AsSpan());
        visitor.List(71, ref Msrs, MaxMsrs);
        visitor.Array(72, Apic.AsSpan());
        visitor.Field(73, ref MpState);
        visitor.Field(74, ref InjectedVector);
        visitor.Field(75, ref InjectedType);
        visitor.Field(76, ref InjectedHasErrorCode);
        visitor.Field(77, ref InjectedErrorCode);
        visitor.Field(78, ref NmiPending);
        visitor.Field(79, ref NmiBlocked);
        visitor.Field(80, ref InterruptShadow);
        visitor.Field(81, ref ExternalInterrupt);
    }
}
