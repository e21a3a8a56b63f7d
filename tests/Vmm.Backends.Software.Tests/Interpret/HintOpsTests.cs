using Vmm.Core.Backends;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.Interpret;

/// <summary>Instructions that do nothing but, at most, check an address.</summary>
public sealed class HintOpsTests
{
    [Theory]
    [InlineData(0x18), InlineData(0x19), InlineData(0x1A), InlineData(0x1B), InlineData(0x1C), InlineData(0x1D), InlineData(0x1E), InlineData(0x1F)]
    public void ReservedNops_EveryForm_DoNothing(byte opcode)
    {
        using var guest = new GuestProgram(64, a =>
        {
            for (var field = 0; field < 8; field++)
            {
                // [RAX], which is not mapped, and the register form, with every prefix that selects another instruction where there is one.
                foreach (var prefix in (byte[])[0x3E, 0x66, 0xF2, 0xF3])
                {
                    a.db(prefix, 0x0F, opcode, (byte)(field << 3));
                    a.db(prefix, 0x0F, opcode, (byte)(0xC0 | field << 3));
                }
            }

            a.prefetchw(__[rax]);
            a.prefetch(__[rax]);
            a.endbr64();
            a.pause();
            a.lfence();
            a.sfence();
            a.mfence();
        });
        for (var i = 0; i < 16; i++) guest[i] = i == 4 ? 0x8000UL : 0xDEAD_0000_0000UL + (ulong)i;
        guest.State.Rflags |= 0x8D5;
        var flags = guest.State.Rflags;
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        for (var i = 0; i < 16; i++) Assert.Equal(i == 4 ? 0x8000UL : 0xDEAD_0000_0000UL + (ulong)i, guest[i]);
        Assert.Equal(flags, guest.State.Rflags);
    }

    [Fact]
    public void CacheLineInstructions_UnmappedAddress_Fault()
    {
        foreach (var code in (byte[][])[[0x0F, 0xAE, 0x38], [0x66, 0x0F, 0xAE, 0x38], [0x66, 0x0F, 0xAE, 0x30]])
        {
            using var guest = new GuestProgram(64, a => a.db(code)).WithSmallPages(0x30000);
            guest[0] = 0x30040;
            Assert.Equal(VcpuStopKind.Shutdown, guest.Run().Kind);
            Assert.Equal((GuestProgram.Start, 0x30040UL), (guest.State.Rip, guest.State.Cr2));
        }
    }
}
