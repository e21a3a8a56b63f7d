using Vmm.Devices.Virtio;

namespace Vmm.TestSupport.Virtio;

/// <summary>Plays steps of a hostile driver against one device on a bench of its own, and looks whether it is still a device afterwards.</summary>
public sealed class HostileRun : IDisposable
{
    private const int QueueSize = 8;

    private static readonly ulong[] Addresses =
    [
        0, 1, 8, VirtioBench.Data, VirtioBench.Data + 1, VirtioBench.Data + 0x1000, VirtioBench.Data + 0x2000, VirtioBench.RamLength - 8, VirtioBench.RamLength - 4096, VirtioBench.RamLength,
        VirtioBench.Hole, VirtioBench.SecondRam, VirtioBench.SecondRam + VirtioBench.SecondRamLength - 16, VirtioBench.Rom, VirtioBench.Rom + VirtioBench.RomLength - 4, VirtioBench.Window,
        VirtioBench.Window + 0x50, VirtioBench.QueueMemory, VirtioBench.QueueMemory + DriverQueue.DriverOffset, VirtioBench.QueueMemory + DriverQueue.DeviceOffset, VirtioBench.QueueMemory + DriverQueue.AreaStride,
        uint.MaxValue, 1UL << 32, 1UL << 52, ulong.MaxValue, ulong.MaxValue - 7, ulong.MaxValue - 15, 1UL << 63,
    ];

    private static readonly uint[] Lengths = [0, 1, 2, 3, 4, 7, 8, 12, 15, 16, 17, 32, 48, 64, 128, 511, 512, 513, 1024, 4096, 16 * 1024, 0x10000, 0x4000 * 16, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF];

    private static readonly ulong[] Values = [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 31, 64, 127, 128, 255, 256, 257, 1000, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, ulong.MaxValue];

    private readonly VirtioBench _bench;
    private readonly bool _packed;
    private readonly int _queues;
    private readonly int[] _positions;

    /// <summary>Plugs the device in.</summary>
    /// <param name="device">The device.</param>
    /// <param name="options">How.</param>
    /// <param name="settle">Called after each reset, for a device that holds requests until it is told.</param>
    public HostileRun(VirtioDevice device, VirtioOptions options, Action? settle = null)
    {
        _bench = new VirtioBench(device, options);
        _bench.Driver.Settle = settle;
        _packed = options.Packed;
        _queues = device.Queues.Count;
        _positions = new int[Math.Max(_queues, 1)];
        Initialize();
    }

    /// <summary>Plays the steps; afterwards a good driver must find a good device.</summary>
    public void Play(ReadOnlySpan<HostileStep> steps)
    {
        foreach (var step in steps)
        {
            Do(step);
            foreach (var queue in _bench.Device.Queues)
            {
                if (queue.InFlight > queue.Size) throw new InvalidOperationException($"After {step} queue {queue.Index} has {queue.InFlight} chains in flight with {queue.Size} descriptors.");
            }
        }

        if (_bench.Memory.TryRead(VirtioBench.Rom, out ulong rom) && rom != 0) throw new InvalidOperationException("The device wrote to ROM.");
        _bench.Reset();
        _bench.Find();
        Initialize();
        const VirtioStatus Working = VirtioStatus.Acknowledge | VirtioStatus.Driver | VirtioStatus.FeaturesOk | VirtioStatus.DriverOk;
        if (_bench.Transport.Status != Working) throw new InvalidOperationException($"After a reset a good driver finds the status {_bench.Transport.Status}: {_bench.Device.LastFault}");
    }

    public void Dispose() => _bench.Dispose();

    private void Initialize()
    {
        _bench.Driver.Start(_queues, QueueSize);
        Array.Clear(_positions);
    }

    private void Do(HostileStep step)
    {
        var (transport, memory) = (_bench.Transport, _bench.Memory);
        var queue = (int)(step.A % (ulong)_positions.Length);
        var area = VirtioBench.QueueMemory + (ulong)queue * DriverQueue.AreaStride;
        switch (step.Action)
        {
            case HostileAction.WriteStatus: transport.Status = (VirtioStatus)(byte)step.A; break;
            case HostileAction.WriteFeatures: transport.WriteFeatures((uint)(step.A % 4), (uint)(step.B % 3 == 0 ? step.C : Pick(Values, step.C))); break;
            case HostileAction.SelectQueue: transport.SelectQueue((uint)(step.B % 4 != 0 ? (ulong)queue : Pick(Values, step.C))); break;
            case HostileAction.SetQueueSize: transport.SetQueueSize((uint)Pick(Values, step.A)); break;
            case HostileAction.SetQueueAreas: transport.SetQueueAreas(Pick(Addresses, step.A), Pick(Addresses, step.B), Pick(Addresses, step.C)); break;
            case HostileAction.EnableQueue: transport.EnableQueue(); break;
            case HostileAction.ResetQueue: transport.ResetQueue(); break;
            case HostileAction.Notify: transport.Notify((uint)(step.B % 4 != 0 ? (ulong)queue : Pick(Values, step.C) % 0x400)); break;
            case HostileAction.WriteDescriptor: WriteDescriptor(area + step.B % QueueSize * 16UL, step.B >> 8, step.C); break;
            case HostileAction.WriteIndirectTable:
                for (ulong i = 0; i < 4; i++) WriteDescriptor(VirtioBench.Data + 0x2000 + i * 16, step.B >> (int)i, step.C >> (int)i);
                break;
            case HostileAction.OfferHead: Offer(queue, area, step.B, step.C); break;
            case HostileAction.PokeQueue: memory.TryWrite(area + step.B % DriverQueue.AreaStride, (ushort)Pick(Values, step.C)); break;
            case HostileAction.PokeData: memory.TryWrite(VirtioBench.Data + step.A % 64, step.B % 2 == 0 ? Pick(Values, step.C) : step.C); break;
            case HostileAction.ReadConfig: _bench.Bus.Mmio.Read(transport.ConfigAddress + Pick(Values, step.A) % 0x800, Size(step.B)); break;
            case HostileAction.WriteConfig: _bench.Bus.Mmio.Write(transport.ConfigAddress + Pick(Values, step.A) % 0x800, Size(step.B), step.C); break;
            case HostileAction.ReadRegister: _bench.Bus.Mmio.Read(Register(step.A, step.B), Size(step.C)); break;
            case HostileAction.WriteRegister: _bench.Bus.Mmio.Write(Register(step.A, step.B), Size(step.C), step.B % 2 == 0 ? step.C : Pick(Values, step.C)); break;
            case HostileAction.GoodRequest: Send(queue, new Buffer(VirtioBench.Data, (uint)(step.B % 65)), new Buffer(VirtioBench.Data + 0x1000, (uint)(step.C % 4097), true)); break;
            case HostileAction.OddRequest:
                Send(queue, new Buffer(Pick(Addresses, step.B), Pick(Lengths, step.C), step.B % 8 == 7), new Buffer(VirtioBench.Data, Pick(Lengths, step.B >> 16), step.C % 2 == 0), new Buffer(Pick(Addresses, step.C >> 16), Pick(Lengths, step.B >> 32), true));
                break;
            case HostileAction.Initialize:
                _bench.Reset();
                _bench.Find();
                Initialize();
                break;
            case HostileAction.TakeUsed:
                for (var i = 0; i < QueueSize && queue < _queues && _bench.Driver.Queues[queue].TryTakeUsed(out _, out _); i++) { }
                break;
            case HostileAction.SetInterrupts: if (queue < _queues) _bench.Driver.Queues[queue].SetInterrupts(step.B % 2 == 0); break;
        }
    }

    private void WriteDescriptor(ulong at, ulong b, ulong c)
    {
        _bench.Memory.TryWrite(at, Pick(Addresses, b));
        var flags = c % 8 | (c >> 3 & 1) << 7 | (c >> 4 & 1) << 15;
        _bench.Memory.TryWrite(at + 8, Pick(Lengths, b >> 16) | (flags << 32 | (c >> 8) % (QueueSize + 2) << 48));
        if (_packed) _bench.Memory.TryWrite(at + 8, Pick(Lengths, b >> 16) | (c >> 8) % (QueueSize + 2) << 32 | flags << 48);
    }

    private void Offer(int queue, ulong area, ulong b, ulong c)
    {
        if (queue >= _queues) return;
        if (_bench.Driver.Queues[queue] is SplitDriverQueue)
        {
            _bench.Memory.TryRead(area + DriverQueue.DriverOffset + 2, out ushort index);
            _bench.Memory.TryWrite(area + DriverQueue.DriverOffset + 4 + 2UL * (ulong)(index % QueueSize), (ushort)(b % (QueueSize + 1)));
            _bench.Memory.TryWrite(area + DriverQueue.DriverOffset + 2, (ushort)(index + (c % 4 != 0 ? 1 : Pick(Values, c >> 8))));
        }
        else
        {
            var position = _positions[queue] = (_positions[queue] + 1) % QueueSize;
            _bench.Memory.TryRead(area + (ulong)position * 16 + 8, out ulong word);
            _bench.Memory.TryWrite(area + (ulong)position * 16 + 8, word ^ (1UL << 55 | (c % 4 == 0 ? 1UL << 63 : 0)));
        }

        _bench.Transport.Notify((uint)queue);
    }

    // A ring that is full is as good as any other state.
    private void Send(int queue, params ReadOnlySpan<Buffer> buffers)
    {
        if (queue >= _queues) return;
        try
        {
            _bench.Driver.Send(queue, buffers);
        }
        catch (InvalidOperationException)
        {
            _bench.Transport.Notify((uint)queue);
        }
    }

    private ulong Register(ulong a, ulong b)
    {
        var (start, length) = _bench.Transport.Windows[(int)(a % (ulong)_bench.Transport.Windows.Count)];
        var offset = (b >> 8) % length;
        return start + (b % 4 == 0 ? offset : offset % 0x100 & ~3UL);
    }

    private static int Size(ulong value) => 1 << (int)(value % 4);

    private static T Pick<T>(T[] from, ulong value) => from[value % (ulong)from.Length];
}
