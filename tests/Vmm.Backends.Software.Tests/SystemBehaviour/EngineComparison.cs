using Vmm.Core.Backends;
using Xunit;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Two guests alike but for their engine, which must do the same.</summary>
internal static class EngineComparison
{
    /// <summary>Runs both to their end, where processors and memory must be alike.</summary>
    /// <param name="interpreted">One.</param>
    /// <param name="translated">The other.</param>
    /// <param name="slice">In counted time: the instructions after which processors are compared, again and again. Zero: at the end alone.</param>
    /// <returns>How they stopped.</returns>
    public static VcpuStopKind Run(SystemGuest interpreted, SystemGuest translated, ulong slice)
    {
        interpreted.Cpu.SetState(interpreted.State);
        translated.Cpu.SetState(translated.State);
        VcpuStopKind stop;
        do
        {
            stop = Step(interpreted, slice);
            Assert.Equal(stop, Step(translated, slice));
            AssertAlike(interpreted, translated);
            if (slice != 0) Assert.Equal(interpreted.Cpu.InstructionsRetired, translated.Cpu.InstructionsRetired);
        }
        while (stop == VcpuStopKind.Debug);

        byte[] first = new byte[4 << 20], second = new byte[4 << 20];
        Assert.True(interpreted.Bus.Memory.TryRead(0, first) && translated.Bus.Memory.TryRead(0, second));
        Assert.True(first.AsSpan().SequenceEqual(second), $"memory differs at 0x{first.AsSpan().CommonPrefixLength(second):x}");
        return stop;
    }

    private static VcpuStopKind Step(SystemGuest guest, ulong slice)
    {
        if (slice != 0) guest.Cpu.StopAfter(slice);
        var kind = guest.Cpu.Run().Kind;
        guest.Cpu.GetState(guest.State);
        return kind;
    }

    private static void AssertAlike(SystemGuest interpreted, SystemGuest translated)
    {
        var (a, b) = (interpreted.State, translated.State);
        Assert.Equal(a.Rip, b.Rip);
        Assert.Equal(a.Gpr, b.Gpr);
        Assert.Equal(a.Segments, b.Segments);
        Assert.True(a.Xsave.AsSpan().SequenceEqual(b.Xsave), $"XSAVE images differ at {a.Xsave.AsSpan().CommonPrefixLength(b.Xsave)}");
        Assert.Equal((a.Rflags, a.Cr0, a.Cr2, a.Cr4, a.Efer, a.NmiBlocked, a.NmiPending), (b.Rflags, b.Cr0, b.Cr2, b.Cr4, b.Efer, b.NmiBlocked, b.NmiPending));
    }
}
