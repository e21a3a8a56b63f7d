using Vmm.Backends.Whp.Simulation;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Backends.Whp.Tests;

/// <summary>A partition on the simulated platform with 1 MiB of RAM, a program at 0x1000 and devices that remember what they were asked.</summary>
internal sealed class WhpGuest : IDisposable, IIoHandler
{
    /// <summary>A write to this port ends the run.</summary>
    public const ushort ExitPort = 0x500;

    private readonly VmClock _clock = new(TimeProvider.System);

    public WhpGuest(byte[] program, int bitness = 32, int vcpus = 1)
    {
        Memory = new GuestMemory();
        Ram = MemoryRegion.Allocate("ram", 0, 1 << 20);
        Memory.Add(Ram);
        Bus = new SystemBus(Memory);
        Bus.Ports.Map(0x100, 0x200, this);
        Bus.Mmio.Map(0xE000_0000, 0x1000, this);
        Bus.Ports.Map(ExitPort, 4, new ExitHandler(this));
        Ram.Write(0x1000, program);
        _clock.Resume();
        Partition = new SimulatedHypervisor().CreatePartition(new PartitionOptions { Bus = Bus, Clock = _clock, VcpuCount = vcpus, CpuModel = CpuModel.X86_64_V2 });
        State = Protected(bitness);
        Cpu.SetState(State);
    }

    public GuestMemory Memory { get; }

    public MemoryRegion Ram { get; }

    public SystemBus Bus { get; }

    public IPartition Partition { get; }

    public IVcpu Cpu => Partition.Vcpus[0];

    public VcpuState State { get; }

    public List<string> Accesses { get; } = [];

    public Exception? Thrown { get; set; }

    public ulong Answer { get; set; } = 0x1122334455667788;

    /// <summary>Runs to the exit port.</summary>
    public VcpuState Run()
    {
        Assert.Equal(VcpuStopKind.Kicked, Cpu.Run().Kind);
        Cpu.GetState(State);
        return State;
    }

    public ulong Read(uint offset, int size)
    {
        if (Thrown is not null) throw Thrown;
        Accesses.Add($"r{size}@{offset:x}");
        return Answer;
    }

    public void Write(uint offset, int size, ulong value)
    {
        if (Thrown is not null) throw Thrown;
        Accesses.Add($"w{size}@{offset:x}={value:x}");
    }

    public void Dispose()
    {
        Partition.Dispose();
        _clock.Dispose();
        Ram.Dispose();
    }

    private static VcpuState Protected(int bitness)
    {
        var state = new VcpuState { Rip = 0x1000, Cr0 = 0x11, Rflags = 2 };
        if (bitness == 16) (state.Cr0, state.Segments[1]) = (0x10, SegmentState.RealMode(0) with { Attributes = 0x9B });
        else
        {
            state.Segments.AsSpan().Fill(SegmentState.Data32(0x10));
            state.Segments[1] = SegmentState.Code32(8);
        }

        state.Gpr[4] = 0x8000;
        return state;
    }

    private sealed class ExitHandler(WhpGuest guest) : IIoHandler
    {
        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value) => guest.Cpu.Kick();
    }
}
