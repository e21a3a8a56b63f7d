using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Backends.Kvm.Tests;

/// <summary>A partition with 1 MiB, a program in real mode at 0x1000, and a port whose write kicks the vCPU that made it.</summary>
internal sealed class Rig : IDisposable
{
    public const ushort DonePort = 0xF4;

    private readonly MemoryRegion _ram = MemoryRegion.Allocate("ram", 0, 1 << 20);
    private readonly VmClock _clock = new(TimeProvider.System);

    public Rig(ReadOnlySpan<byte> code, KvmOptions? options = null, int vcpus = 1)
    {
        Bus = new SystemBus(new GuestMemory());
        Bus.Memory.Add(_ram);
        Bus.Memory.TryWrite(0x1000, code);
        Partition = (KvmPartition)new KvmHypervisor(options).CreatePartition(new PartitionOptions { Bus = Bus, Clock = _clock, VcpuCount = vcpus });
        Bus.Ports.Map(DonePort, 1, new Port { Written = (_, _) => Vcpu.Kick() });
        Vcpu.SetState(RealMode());
    }

    public SystemBus Bus { get; }

    public MemoryRegion Ram => _ram;

    public KvmPartition Partition { get; }

    public IVcpu Vcpu => Partition.Vcpus[0];

    public static PartitionOptions Options() => new() { Bus = new SystemBus(new GuestMemory()), Clock = new VmClock(TimeProvider.System) };

    public static VcpuState RealMode()
    {
        var state = new VcpuState { Rip = 0x1000, Cr0 = 0x10 };
        state.Segments[1] = SegmentState.RealMode(0) with { Attributes = 0x9B };
        state.Gpr[4] = 0x8000;
        return state;
    }

    public static VcpuState ProtectedMode()
    {
        var state = RealMode();
        state.Cr0 = 0x11;
        state.Segments[1] = SegmentState.Code32(8);
        foreach (var i in (ReadOnlySpan<int>)[0, 2, 3, 4, 5]) state.Segments[i] = SegmentState.Data32(16);
        return state;
    }

    public VcpuState State()
    {
        var state = new VcpuState();
        Vcpu.GetState(state);
        return state;
    }

    public void Dispose()
    {
        Partition.Dispose();
        _ram.Dispose();
        _clock.Dispose();
    }

    internal sealed class Port : IIoHandler
    {
        public Action<int, ulong>? Written { get; init; }

        public Func<int, ulong>? Asked { get; init; }

        public ulong Read(uint offset, int size) => Asked?.Invoke(size) ?? ulong.MaxValue;

        public void Write(uint offset, int size, ulong value) => Written?.Invoke(size, value);
    }
}
