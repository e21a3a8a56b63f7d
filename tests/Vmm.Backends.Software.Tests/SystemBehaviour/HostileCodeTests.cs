using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Guests that mean harm, and the cost of exits.</summary>
public abstract class HostileCodeTests<TEngine> where TEngine : IEngine
{
    [Theory]
    [InlineData(16), InlineData(32), InlineData(64)]
    public void RandomBytes_ManySeeds_EndInAStop(int bitness)
    {
        using var guest = new SystemGuest<TEngine>(bitness, a => a.nop());
        var start = guest.State;
        var saved = new VcpuState();
        guest.Cpu.SetState(start);
        guest.Cpu.GetState(saved);
        var code = new byte[4096];
        using var timer = new Timer(_ => guest.Cpu.Kick(), null, 20, 20);
        for (var seed = 0; seed < 350; seed++)
        {
            new Random(seed).NextBytes(code);
            guest.Bytes(SystemGuest.Start, code);
            guest.Cpu.SetState(saved);
            var random = new Random(~seed);
            for (var i = 0; i < 16; i++) start.Gpr[i] = i == 4 ? 0x20000 : (ulong)random.Next(0x400000);
            guest.GoTo(SystemGuest.Start);
            guest.Cpu.SetState(start);
            var stop = guest.Cpu.Run();
            Assert.True(stop.Kind is VcpuStopKind.Kicked or VcpuStopKind.Halted or VcpuStopKind.Shutdown, $"seed {seed}: {stop}");
        }
    }

    [Fact]
    public void PortExits_AHundredThousand_AllocateNothing()
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var loop = a.CreateLabel();
            a.mov(edx, 0x1234);
            a.Label(ref loop);
            a.@out(dx, al);
            a.@in(eax, dx);
            a.dec(ecx);
            a.jne(loop);
        });
        guest.Bus.Ports.Map(0x1230, 16, new Counter());
        guest[1] = 1000;
        guest.RunToEnd();
        // The runtime itself may allocate once or twice while it makes better code of ours in the background; exits would do so every time.
        var allocated = new List<long>();
        for (var i = 0; i < 3; i++)
        {
            guest[1] = 100_000;
            guest.GoTo(SystemGuest.Start);
            guest.Cpu.SetState(guest.State);
            long before = GC.GetAllocatedBytesForCurrentThread();
            var stop = guest.Cpu.Run();
            allocated.Add(GC.GetAllocatedBytesForCurrentThread() - before);
            Assert.Equal(VcpuStopKind.Halted, stop.Kind);
        }

        Assert.Contains(0, allocated);
        Assert.Equal(301_000, guest.Cpu.Counters.PortWrites);
    }

    [Fact]
    public void Cpuid_AnyLeaf_NeverThrows()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.nop());
        foreach (var high in (uint[])[0, 0x40000000, 0x80000000, 0xC0000000, 0xFFFFFF00])
        {
            for (uint leaf = 0; leaf < 256; leaf++)
            {
                for (uint subleaf = 0; subleaf < 70; subleaf++) guest.Cpu.Cpuid(high + leaf, subleaf);
                guest.Cpu.Cpuid(high + leaf, uint.MaxValue);
            }
        }
    }

    [Fact]
    public void Msrs_AllRanges_NeverThrowAndReadBackWhatTheyAccept()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.nop());
        guest.Cpu.SetState(guest.State);
        var random = new Random(7);
        foreach (var high in (uint[])[0, 0x4000_0000, 0x4B56_4D00, 0xC000_0000, 0xC001_0000, 0xFFFF_F000])
        {
            for (uint i = 0; i < 0x1000; i++)
            {
                guest.Cpu.TryReadMsr(high + i, out _);
                foreach (var value in (ulong[])[0, ulong.MaxValue, (ulong)random.NextInt64(), 1UL << random.Next(64)]) guest.Cpu.TryWriteMsr(high + i, value);
                guest.Cpu.TryReadMsr(high + i, out _);
            }
        }
    }

    private sealed class Counter : IIoHandler
    {
        private ulong _last;

        public ulong Read(uint offset, int size) => _last;

        public void Write(uint offset, int size, ulong value) => _last += value;
    }
}
