using Vmm.Core.Backends;
using Vmm.Core.X86;
using Xunit;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>States from outside: snapshots of other backends, and ones that mean harm.</summary>
public abstract class StateTests<TEngine> where TEngine : IEngine
{
    [Theory]
    [InlineData(0, 0x50, false, 0u), InlineData(3, 13, true, 0x1230u), InlineData(2, 2, false, 0u)]
    public void InjectedEvent_IsDeliveredBeforeTheFirstInstruction(byte type, short vector, bool hasError, uint error)
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.ud2());
        (guest.State.InjectedVector, guest.State.InjectedType, guest.State.InjectedHasErrorCode, guest.State.InjectedErrorCode) = (vector, type, hasError, error);
        Assert.Equal(new Trap(vector, error, SystemGuest.Start), guest.RunToTrap());
        Assert.Equal(-1, guest.State.InjectedVector);
    }

    [Fact]
    public void InjectedEvent_ReadBackBeforeTheRun_IsStillThere()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.ud2());
        (guest.State.InjectedVector, guest.State.InjectedType) = (0x50, 0);
        guest.Cpu.SetState(guest.State);
        guest.Cpu.GetState(guest.State);
        Assert.Equal(0x50, guest.State.InjectedVector);
    }

    private static Action<VcpuState>[] BadStates =>
    [
        s => s.Cr0 |= 1UL << 40, s => s.Cr0 = 0x80000010, s => s.Cr3 = 1UL << 60, s => s.Cr4 |= 1UL << 40, s => s.Cr4 = 0, s => s.Cr8 = 16, s => s.Efer |= 2,
        s => s.Efer &= ~0x400UL, s => s.Xcr0 = 0, s => s.Xcr0 = 5, s => s.Rflags |= 0x20000, s => s.MpState = (MpState)77, s => s.InjectedVector = 256, s => s.Debug[7] = 1UL << 33,
    ];

    [Fact]
    public void ImpossibleState_IsRefused_AndNothingChanges()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.nop());
        guest.Cpu.SetState(guest.State);
        var (before, after, bad) = (new VcpuState(), new VcpuState(), new VcpuState());
        guest.Cpu.GetState(before);
        foreach (var spoil in BadStates)
        {
            guest.Cpu.GetState(bad);
            spoil(bad);
            bad.Rip = 0x1234;
            Assert.Throws<ArgumentException>(() => guest.Cpu.SetState(bad));
            guest.Cpu.GetState(after);
            Assert.Equal((before.Rip, before.Cr0, before.Cr4, before.Efer), (after.Rip, after.Cr0, after.Cr4, after.Efer));
        }
    }

    [Fact]
    public void RandomStates_AreRefusedOrRunToAStop()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.nop());
        var random = new Random(11);
        using var timer = new Timer(_ => guest.Cpu.Kick(), null, 10, 10);
        var state = new VcpuState();
        var accepted = 0;
        for (var seed = 0; seed < 300; seed++)
        {
            state.SetPowerOn();
            for (var i = 0; i < 16; i++) state.Gpr[i] = (ulong)random.NextInt64() >> random.Next(64);
            var isLong = random.Next(2) == 0;
            for (var i = 0; i < 6; i++) state.Segments[i] = Segment(random, i == 1 ? 0x9B : 0x93, i >= 4 ? 17 : 32);
            if (!isLong) state.Segments[1].Attributes &= 0xDFFF;
            (state.Ldt, state.Tr) = (Segment(random, 0x82, 17), Segment(random, 0x8B, 17));
            (state.Gdt, state.Idt) = (new DescriptorTable((ulong)random.NextInt64() >> random.Next(17, 64), (ushort)random.Next()), new DescriptorTable((ulong)random.NextInt64() >> random.Next(17, 64), (ushort)random.Next()));
            (state.Rip, state.Rflags) = ((ulong)random.NextInt64() >> random.Next(32, 64), (ulong)random.Next());
            (state.Cr0, state.Cr3) = (isLong ? 0xE0000011UL : random.Next(2) == 0 ? 0x60000011UL : 0x60000010, (ulong)random.Next(0x500000));
            (state.Cr4, state.Efer) = ((ulong)random.Next(0x800) | 0x20, isLong ? 0xD01UL : 0);
            random.NextBytes(state.Xsave);
            random.NextBytes(state.Apic);
            for (var i = 0; i < 8; i++) state.Debug[i] = (uint)random.Next();
            for (var i = 0; i < 4; i++) state.Pdptes[i] = (ulong)random.NextInt64();
            state.InjectedVector = (short)(random.Next(4) == 0 ? random.Next(256) : -1);
            state.InjectedType = (byte)random.Next(8);
            try
            {
                guest.Cpu.SetState(state);
            }
            catch (ArgumentException)
            {
                continue;
            }

            accepted++;
            Assert.True(guest.Cpu.Run().Kind is VcpuStopKind.Kicked or VcpuStopKind.Halted or VcpuStopKind.Shutdown, $"seed {seed}");
        }

        // Enough of them get past the check to try what lies behind it.
        Assert.InRange(accepted, 50, 299);
    }

    [Fact]
    public void Partition_DisposedTwice_IsFreedOnce()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.nop());
        guest.RunToEnd();
        guest.Partition.Dispose();
        Assert.Null(Record.Exception(guest.Partition.Dispose));
        // Nobody is told of this any more.
        guest.Write(SystemGuest.Start, (byte)0x90);
    }

    // Mostly a kind of segment that the register can hold.
    private static SegmentState Segment(Random random, int attributes, int shift)
    {
        if (random.Next(64) == 0) attributes = random.Next(0x100);
        var big = random.Next(2) == 0;
        var limit = (uint)random.Next();
        return new SegmentState((ulong)random.NextInt64() >> random.Next(shift, 64), big ? limit | 0xFFF : limit & 0xFFFFF, (ushort)random.Next(), (ushort)(attributes | (big ? 0x8000 : 0) | random.Next(4) << 13));
    }
}
