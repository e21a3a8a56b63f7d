using System.Text;
using FsCheck.Xunit;
using Vmm.Core.X86;

namespace Vmm.Core.Tests.X86;

public class CpuModelTests
{
    [Fact]
    public void Named_EachIsFoundByItsName()
    {
        foreach (var model in CpuModel.Named) Assert.Same(model, CpuModel.Find(model.Name));
        Assert.Null(CpuModel.Find("pentium"));
        Assert.Equal("x86-64-v3", CpuModel.X86_64_V3.ToString());
    }

    [Fact]
    public void Levels_ContainTheOnesBelow()
    {
        foreach (var feature in Enum.GetValues<CpuFeature>())
        {
            if (CpuModel.X86_64_V2.Has(feature)) Assert.True(CpuModel.X86_64_V3.Has(feature), feature.ToString());
            if (CpuModel.X86_64_V3.Has(feature)) Assert.True(CpuModel.Max.Has(feature), feature.ToString());
        }

        Assert.False(CpuModel.X86_64_V2.Has(CpuFeature.Avx2));
        Assert.True(CpuModel.X86_64_V3.Has(CpuFeature.Avx2));
        Assert.False(CpuModel.X86_64_V3.Has(CpuFeature.Aes));
        Assert.True(CpuModel.Max.Has(CpuFeature.Aes));
    }

    [Fact]
    public void WithAndWithout_LeaveTheOriginalAsItIs()
    {
        var model = CpuModel.X86_64_V3.With(CpuFeature.Aes).Without(CpuFeature.Avx2, CpuFeature.Avx);
        Assert.True(model.Has(CpuFeature.Aes));
        Assert.False(model.Has(CpuFeature.Avx2));
        Assert.False(CpuModel.X86_64_V3.Has(CpuFeature.Aes));
        Assert.True(CpuModel.X86_64_V3.Has(CpuFeature.Avx));
    }

    [Theory]
    [InlineData(CpuFeature.Sse42, 1u, 'c', 20)]
    [InlineData(CpuFeature.Fpu, 1u, 'd', 0)]
    [InlineData(CpuFeature.Avx2, 7u, 'b', 5)]
    [InlineData(CpuFeature.Umip, 7u, 'c', 2)]
    [InlineData(CpuFeature.ArchCapabilities, 7u, 'd', 29)]
    [InlineData(CpuFeature.LahfSahf, 0x80000001u, 'c', 0)]
    [InlineData(CpuFeature.Lm, 0x80000001u, 'd', 29)]
    [InlineData(CpuFeature.InvariantTsc, 0x80000007u, 'd', 8)]
    [InlineData(CpuFeature.Arat, 6u, 'a', 2)]
    public void Cpuid_FeatureBit_IsWhereTheManualHasIt(CpuFeature feature, uint leaf, char register, int bit)
    {
        Assert.Equal(1u, Bit(CpuModel.Max.With(feature)));
        Assert.Equal(0u, Bit(CpuModel.Max.Without(feature)));

        uint Bit(CpuModel model)
        {
            var (eax, ebx, ecx, edx) = model.GetCpuid(leaf, 0, 0, 1);
            return (register switch { 'a' => eax, 'b' => ebx, 'c' => ecx, _ => edx }) >> bit & 1;
        }
    }

    [Fact]
    public void Cpuid_Vendor_IsGenuineIntel()
    {
        var (eax, ebx, ecx, edx) = CpuModel.X86_64_V3.GetCpuid(0, 0, 0, 1);
        Assert.Equal(0x1Fu, eax);
        Assert.Equal("GenuineIntel", Text(ebx, edx, ecx));
        (_, ebx, ecx, edx) = CpuModel.X86_64_V3.GetCpuid(0x40000000, 0, 0, 1);
        Assert.Equal("VmmVmmVmm\0\0\0", Text(ebx, ecx, edx));
    }

    [Fact]
    public void Cpuid_Brand_NamesTheModel()
    {
        var brand = string.Concat(Enumerable.Range(0, 3).Select(i => CpuModel.X86_64_V2.GetCpuid(0x80000002 + (uint)i, 0, 0, 1)).Select(r => Text(r.Eax, r.Ebx, r.Ecx, r.Edx)));
        Assert.Equal("Vmm virtual CPU (x86-64-v2)", brand.TrimEnd('\0'));
        Assert.Equal(48, brand.Length);
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(2, 1)]
    [InlineData(3, 2)]
    [InlineData(4, 2)]
    [InlineData(255, 8)]
    public void Cpuid_Topology_CoversAllApicIds(int count, int shift)
    {
        var last = count - 1;
        var core = CpuModel.X86_64_V3.GetCpuid(0xB, 1, last, count);
        Assert.Equal(((uint)shift, (uint)count, (uint)last), (core.Eax, core.Ebx, core.Edx));
        Assert.Equal(0u, (uint)last >> shift);
        var one = CpuModel.X86_64_V3.GetCpuid(1, 0, last, count);
        Assert.Equal((uint)last, one.Ebx >> 24);
        Assert.Equal(count > 1 ? 1u : 0, one.Edx >> 28 & 1);
    }

    [Fact]
    public void Cpuid_TscFrequency_IsTheClocks()
    {
        var (denominator, numerator, crystal, _) = CpuModel.X86_64_V3.GetCpuid(0x15, 0, 0, 1);
        Assert.Equal(Core.Time.VmClock.TscFrequency, (long)crystal * numerator / denominator);
        Assert.Equal(Core.Time.VmClock.TscFrequency / 1000, CpuModel.X86_64_V3.GetCpuid(0x40000010, 0, 0, 1).Eax);
    }

    [Theory]
    [InlineData(1UL, 576u)]
    [InlineData(3UL, 576u)]
    [InlineData(7UL, 832u)]
    [InlineData(0x207UL, 2696u)]
    public void XsaveSize_OfComponents_IsTheEndOfTheLast(ulong components, uint size) => Assert.Equal(size, CpuModel.XsaveSize(components));

    [Fact]
    public void Xcr0Mask_FollowsTheFeatures()
    {
        Assert.Equal(3UL, CpuModel.X86_64_V2.Xcr0Mask);
        Assert.Equal(7UL, CpuModel.X86_64_V3.Xcr0Mask);
        Assert.Equal(0x207UL, CpuModel.Max.Xcr0Mask);
        Assert.Equal(1UL, CpuModel.Max.Without(CpuFeature.Xsave).Xcr0Mask);
        Assert.True(CpuModel.XsaveSize(CpuModel.Max.Xcr0Mask) <= VcpuState.XsaveSize);
    }

    [Property]
    public void Cpuid_AnyLeaf_Answers(uint leaf, uint subleaf, byte index)
    {
        CpuModel.Max.GetCpuid(leaf, subleaf, index % 255, 255);
        if (leaf is > 0x20 and < 0x40000000) Assert.Equal(default, CpuModel.Max.GetCpuid(leaf, subleaf, 0, 1));
    }

    private static string Text(params uint[] words) => Encoding.ASCII.GetString([.. words.SelectMany(BitConverter.GetBytes)]);
}
