using System.Diagnostics;
using Vmm.Backends.Kvm;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Benchmarks;

/// <summary>One VM of the KVM benchmarks: 64 MiB, one vCPU, the guest of benchmarks/kvm at work in one of its modes.</summary>
internal sealed class KvmMachine : IIoHandler, IDisposable
{
    public const int Ports = 0, PortsUser = 1, Mmio = 2, MmioUser = 3, Spin = 4, Halt = 5, Compute = 6;

    private const ulong Base = 0x10000, CounterAddress = 0x20000, MmioAddress = 0x10000000;
    private const uint RoundTrip = 0x500, Interrupted = 0x502, HaltsNow = 0x504, ResultPort = 0x506;

    private readonly GuestMemory _memory = new();
    private readonly MemoryRegion _ram = MemoryRegion.Allocate("ram", 0, 64 << 20);
    private readonly VmClock _clock = new(TimeProvider.System);
    private readonly KvmPartition _partition;
    private readonly IVcpu _vcpu;
    private readonly bool _isMmio;
    private int _left = 1;
    private long _halts;

    public KvmMachine(KvmHypervisor hypervisor, byte[] image, int mode, int count = 0)
    {
        _memory.Add(_ram);
        _memory.TryWrite(Base, image);
        var bus = new SystemBus(_memory);
        bus.Ports.Map(RoundTrip, 10, this);
        bus.Mmio.Map(MmioAddress, 4096, this);
        _isMmio = mode is Mmio or MmioUser;
        _partition = (KvmPartition)hypervisor.CreatePartition(new PartitionOptions { Bus = bus, Clock = _clock });
        _vcpu = _partition.Vcpus[0];
        var state = new VcpuState { Rip = Base + 0x4000, Rflags = 2, Cr0 = 0x80000033, Cr3 = Base, Cr4 = 0x620, Efer = 0x500 };
        state.Segments[1] = SegmentState.Code64(8);
        foreach (var i in (ReadOnlySpan<int>)[0, 2, 3, 4, 5]) state.Segments[i] = SegmentState.Data32(16);
        (state.Gpr[7], state.Gpr[6]) = ((ulong)mode, (ulong)count);
        _vcpu.SetState(state);
    }

    /// <summary>Called when the last of the exits asked for is served.</summary>
    public Action? Exited { get; set; }

    /// <summary>The loop's last result.</summary>
    public uint Result { get; private set; }

    /// <summary>When the interrupt handler's last exit was served, as <see cref="Stopwatch"/> tells time; zero to wait for the next.</summary>
    public long HandledAt;

    /// <summary>How often the guest was about to halt.</summary>
    public long Halts => Volatile.Read(ref _halts);

    /// <summary>What user code counts up.</summary>
    public ulong Counter => _memory.TryRead(CounterAddress, out ulong value) ? value : 0;

    /// <summary>Runs the guest until it has made a number of exits.</summary>
    public void Exit(int count)
    {
        _left = count;
        Run();
    }

    /// <summary>Runs the guest until it is kicked.</summary>
    public void Run()
    {
        if (_vcpu.Run() is { Kind: not VcpuStopKind.Kicked } stop) throw new InvalidOperationException($"The guest ended by {stop}.");
    }

    public void Kick() => _vcpu.Kick();

    public void Interrupt() => _partition.SignalMsi(new MsiMessage(0xFEE00000, 0x40));

    public ulong Read(uint offset, int size) => ulong.MaxValue;

    public void Write(uint offset, int size, ulong value)
    {
        switch (_isMmio ? RoundTrip : RoundTrip + offset)
        {
            case RoundTrip:
                if (--_left != 0) break;
                Exited?.Invoke();
                _vcpu.Kick();
                break;
            case Interrupted:
                Volatile.Write(ref HandledAt, Stopwatch.GetTimestamp());
                break;
            case HaltsNow:
                Interlocked.Increment(ref _halts);
                break;
            case ResultPort:
                Result = (uint)value;
                _vcpu.Kick();
                break;
        }
    }

    public void Dispose()
    {
        _partition.Dispose();
        _ram.Dispose();
        _clock.Dispose();
    }
}
