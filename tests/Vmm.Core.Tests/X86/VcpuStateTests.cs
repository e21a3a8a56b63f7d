using Vmm.Core.State;
using Vmm.Core.X86;

namespace Vmm.Core.Tests.X86;

public class VcpuStateTests
{
    [Fact]
    public void New_IsAfterPowerOn()
    {
        // Intel SDM vol. 3, table 10-1.
        var state = new VcpuState();
        Assert.Equal((0xFFF0UL, 2UL, 0x60000010UL), (state.Rip, state.Rflags, state.Cr0));
        Assert.Equal(new SegmentState(0xFFFF0000, 0xFFFF, 0xF000, 0x9B), state.Segments[1]);
        Assert.All(new[] { 0, 2, 3, 4, 5 }, i => Assert.Equal(SegmentState.RealMode(0), state.Segments[i]));
        Assert.Equal((0xFFFF0FF0UL, 0x400UL), (state.Debug[6], state.Debug[7]));
        Assert.Equal(0xFEE00900UL, state.ApicBase);
        Assert.Equal(0x40, state.Xsave[0]);
        Assert.Equal(0x1F80, BitConverter.ToUInt16(state.Xsave, 24));
        Assert.Equal(MpState.Runnable, state.MpState);
        Assert.Equal(-1, state.InjectedVector);
    }

    [Fact]
    public void SetPowerOn_AfterUse_IsAsNew()
    {
        var state = new VcpuState
        {
            Rip = 5, Rflags = 6, Cr0 = 7, Cr2 = 8, Cr3 = 9, Cr4 = 10, Cr8 = 11, Xcr0 = 12, Efer = 13, ApicBase = 14, Msrs = [new MsrValue(1, 2)], MpState = MpState.Halted, InjectedVector = 3, InjectedType = 4,
            InjectedHasErrorCode = true, InjectedErrorCode = 5, NmiPending = true, NmiBlocked = true, InterruptShadow = 1, ExternalInterrupt = true, Ldt = SegmentState.Data32(8), Tr = SegmentState.Code32(8), Gdt = new(1, 2), Idt = new(3, 4),
        };
        foreach (var array in new[] { state.Gpr, state.Debug, state.Pdptes }) array.AsSpan().Fill(99);
        foreach (var array in new[] { state.Xsave, state.Apic }) array.AsSpan().Fill(99);
        state.Segments.AsSpan().Fill(SegmentState.Code64(8));
        state.SetPowerOn();
        Assert.Empty(StateComparer.Compare(new VcpuState(), state));
    }

    [Fact]
    public void Visit_EveryFieldAndProperty_IsInTheSavedState()
    {
        var names = StateFields.Of(new VcpuState()).Select(f => f.Name).ToHashSet();
        foreach (var field in typeof(VcpuState).GetFields().Where(f => !f.IsLiteral && f.Name is not (nameof(VcpuState.Ldt) or nameof(VcpuState.Tr) or nameof(VcpuState.Gdt) or nameof(VcpuState.Idt))))
        {
            Assert.Contains(field.Name, names);
        }

        foreach (var property in typeof(VcpuState).GetProperties().Where(p => p.Name != nameof(VcpuState.Segments))) Assert.Contains(property.Name, names);
    }

    [Fact]
    public void Visit_SegmentsAndTables_EachPartMatters()
    {
        var random = new Random(7);
        for (var i = 0; i < 8; i++)
        {
            var changed = new VcpuState();
            var segment = new SegmentState((ulong)random.NextInt64(), (uint)random.Next(), (ushort)random.Next(), (ushort)random.Next());
            if (i < 6) changed.Segments[i] = segment;
            else if (i == 6) changed.Ldt = segment;
            else changed.Tr = segment;
            Assert.Equal(4, StateComparer.Compare(new VcpuState(), changed).Length);
        }

        Assert.Equal(4, StateComparer.Compare(new VcpuState(), new VcpuState { Gdt = new(1, 2), Idt = new(3, 4) }).Length);
    }

    [Theory]
    [InlineData(0xA09B, true, 0)]
    [InlineData(0x00F3, true, 3)]
    [InlineData(0x0013, false, 0)]
    public void Segment_Attributes_AreRead(int attributes, bool present, int dpl)
    {
        var segment = new SegmentState(0, 0, 0, (ushort)attributes);
        Assert.Equal((present, dpl), (segment.IsPresent, segment.Dpl));
    }

    [Fact]
    public void Segment_RealMode_BaseIsSixteenTimesTheSelector() => Assert.Equal(0xFFFF0UL, SegmentState.RealMode(0xFFFF).Base);
}
