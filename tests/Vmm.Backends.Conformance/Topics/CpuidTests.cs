using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>CPUID answers as the model does, less what the host cannot do.</summary>
public abstract class CpuidTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    [Fact]
    public void Vendor_IsTheModels()
    {
        var (guest, model) = (Ask(0), Backend.Model.GetCpuid(0, 0, 0, 1));
        Assert.Equal((model.Ebx, model.Ecx, model.Edx), (guest.Ebx, guest.Ecx, guest.Edx));
    }

    [Theory, InlineData(1u, 0u), InlineData(7u, 0u), InlineData(0x8000_0001u, 0u), InlineData(0xDu, 1u)]
    public void Features_AreNoMoreThanTheModels(uint leaf, uint subleaf)
    {
        Need(HypervisorCapabilities.FullSystem);
        var (guest, model) = (Ask(leaf, subleaf), Backend.Model.GetCpuid(leaf, subleaf, 0, 1));
        // OSXSAVE (1.ECX[27]) follows CR4; leaf 1's EAX and EBX, and the sizes of leaf D, are no features.
        Assert.Equal(0u, guest.Ecx & ~(model.Ecx | (leaf == 1 ? 1u << 27 : 0)));
        if (leaf != 0xD) Assert.Equal(0u, guest.Edx & ~model.Edx);
        if (leaf == 7) Assert.Equal(0u, guest.Ebx & ~model.Ebx);
        if (leaf == 0xD) Assert.Equal(0u, guest.Eax & ~model.Eax);
    }

    [Fact]
    public void Features_OfEveryX8664_AreThere()
    {
        // FPU, TSC, MSR, PAE, CX8, APIC, CMOV, FXSR, SSE, SSE2; SSE3, CX16; long mode, NX.
        var (basic, extended) = (Ask(1), Ask(0x8000_0001));
        Assert.Equal(0x0700_8371u, basic.Edx & 0x0700_8371);
        Assert.Equal(0x2001u, basic.Ecx & 0x2001);
        Assert.Equal(0x2010_0000u, extended.Edx & 0x2010_0000);
    }

    [Fact]
    public void Signature_IsTheModels()
    {
        Assert.Equal(Backend.Model.GetCpuid(1, 0, 0, 1).Eax, Ask(1).Eax);
    }

    [Fact]
    public void Brand_IsTheModels()
    {
        for (var leaf = 0x8000_0002; leaf <= 0x8000_0004; leaf++) Assert.Equal(Backend.Model.GetCpuid(leaf, 0, 0, 1), Ask(leaf));
    }

    [Fact]
    public void HypervisorBit_IsSet() => Assert.NotEqual(0u, Ask(1).Ecx >> 31);

    [Fact]
    public void ApicId_IsTheVcpusIndex()
    {
        var guest = Guest(64, a => { a.mov(eax, 1); a.cpuid(); }, vcpus: 3);
        for (var i = 0; i < 3; i++)
        {
            if (i > 0) guest.Prepare(i, GuestTables.Program);
            guest.ShouldEnd(new GuestEnd(EndKind.Exit), guest.Run(i) with { Value = 0 }, i);
            Assert.Equal((ulong)i, guest.StateOf(i).Gpr[3] >> 24);
        }
    }

    [Fact]
    public void OsXsave_FollowsCr4()
    {
        if ((Ask(1).Ecx & 1 << 26) == 0) Assert.Skip("the host's CPU has no XSAVE");
        var guest = Guest(64, a => { a.mov(eax, 1); a.cpuid(); a.mov(esi, ecx); a.mov(rax, cr4); a.or(eax, 1 << 18); a.mov(cr4, rax); a.mov(eax, 1); a.cpuid(); });
        guest.RunToEnd();
        Assert.Equal((0UL, 1UL), (guest[6] >> 27 & 1, guest[1] >> 27 & 1));
    }

    [Fact]
    public void UserMode_MayAsk()
    {
        var guest = Guest(64, a => { a.xor(eax, eax); a.cpuid(); }, user: true);
        guest.RunToEnd();
        Assert.NotEqual(0UL, guest[0]);
    }

    private CpuidResult Ask(uint leaf, uint subleaf = 0)
    {
        using var guest = Guest(64, a => a.cpuid());
        (guest[0], guest[1]) = (leaf, subleaf);
        guest.RunToEnd();
        return new CpuidResult((uint)guest[0], (uint)guest[3], (uint)guest[1], (uint)guest[2]);
    }
}
