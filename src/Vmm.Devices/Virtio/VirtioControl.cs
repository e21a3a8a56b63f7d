// Virtio 1.3, 2.1 "Device Status Field", 2.2 "Feature Bits", 3.1 "Device Initialization".
using Microsoft.Extensions.Logging;
using Vmm.Core.Boards;
using Vmm.Core.Devices;
using Vmm.Core.Memory;
using Vmm.Core.State;
using Vmm.Devices.Virtio.Queues;

namespace Vmm.Devices.Virtio;

/// <summary>
/// What both transports have in common: the status machine, feature negotiation and queue registers of one device. A transport translates
/// its registers into calls of this; all under the lock of the transport, which is the device as the machine sees it.
/// </summary>
internal sealed partial class VirtioControl : IStateful
{
    private const VirtioStatus DriversBits = VirtioStatus.Acknowledge | VirtioStatus.Driver | VirtioStatus.FeaturesOk | VirtioStatus.DriverOk | VirtioStatus.Failed;
    private const int RoundsWithoutMachine = 16, LoggedMistakes = 10;

    private struct State
    {
        public VirtioStatus Status;
        public ulong DriverFeatures;
        public uint DeviceFeatureSelect, DriverFeatureSelect, ConfigGeneration;
        public ushort QueueSelect;
    }

    private readonly VirtioDevice _device;
    private readonly Virtqueue[] _queues;
    private readonly VirtioInlet<VirtqueueCompletion> _completions;
    private State _s;
    private VirtioOptions _options = new();
    private IVirtioTransport? _transport;
    private ILogger? _logger;
    private VirtioStatus _before;
    private int _running;
    private long _mistakes;

    public VirtioControl(VirtioDevice device, int queueCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(queueCount);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(queueCount, VirtqueueLimits.Queues);
        _device = device;
        _queues = [.. Enumerable.Range(0, queueCount).Select(i => new Virtqueue(this, i))];
        _completions = new VirtioInlet<VirtqueueCompletion>(this, Deliver);
        Inlets.Add(_completions);
    }

    public IReadOnlyList<Virtqueue> Queues => _queues;

    public List<IVirtioInlet> Inlets { get; } = [];

    /// <summary>The lock.</summary>
    public object Gate => _transport ?? (object)this;

    public VirtioStatus Status => _s.Status;

    /// <summary>What the driver reads right after a reset until all chains that the device had are back: the status as it was.</summary>
    public VirtioStatus StatusOrDraining => _s.Status == VirtioStatus.None && Array.Exists(_queues, static q => q.IsDraining) ? _before : _s.Status;

    public ulong Offered => (_device.Features & ~VirtioFeatures.OfTheCore) | _options.Features;

    /// <summary>The features in force; none before they are agreed upon.</summary>
    public ulong Negotiated => (_s.Status & VirtioStatus.FeaturesOk) != 0 ? _s.DriverFeatures : 0;

    public bool IsDriverReady => (_s.Status & VirtioStatus.DriverOk) != 0;

    public bool IsBroken => (_s.Status & VirtioStatus.NeedsReset) != 0;

    public bool MayTransfer => _transport is { MayTransfer: true };

    public uint ConfigGeneration => _s.ConfigGeneration;

    public long Mistakes => Volatile.Read(ref _mistakes);

    public ref uint DeviceFeatureSelect => ref _s.DeviceFeatureSelect;

    public ref uint DriverFeatureSelect => ref _s.DriverFeatureSelect;

    public ref ushort QueueSelect => ref _s.QueueSelect;

    /// <summary>The queue that the driver has selected; null when there is none of that number.</summary>
    public Virtqueue? Selected => _s.QueueSelect < _queues.Length ? _queues[_s.QueueSelect] : null;

    public void Connect(IVirtioTransport transport, GuestMemory memory, VirtioOptions options, MachineContext? machine)
    {
        if (_transport is not null) throw new InvalidOperationException("The device has a transport already; make one device for each.");
        (_transport, _options) = (transport, options);
        _logger = machine?.LoggerFactory.CreateLogger<VirtioDevice>();
        foreach (var inlet in Inlets) inlet.Connect(machine, transport);
        for (var i = 0; i < _queues.Length; i++) _queues[i].Connect(memory, Math.Min(_device.MaximumQueueSize(i), options.QueueSize));
        _device.Connected(machine);
    }

    public uint ReadDeviceFeatures() => _s.DeviceFeatureSelect < 2 ? (uint)(Offered >> (int)(32 * _s.DeviceFeatureSelect)) : 0;

    public uint ReadDriverFeatures() => _s.DriverFeatureSelect < 2 ? (uint)(_s.DriverFeatures >> (int)(32 * _s.DriverFeatureSelect)) : 0;

    public void WriteDriverFeatures(uint value)
    {
        if ((_s.Status & VirtioStatus.FeaturesOk) != 0 || _s.DriverFeatureSelect > 1)
        {
            if (value != 0 || _s.DriverFeatureSelect < 2) CountMistake();
            return;
        }

        var shift = (int)(32 * _s.DriverFeatureSelect);
        _s.DriverFeatures = _s.DriverFeatures & ~((ulong)uint.MaxValue << shift) | (ulong)value << shift;
    }

    public void WriteStatus(VirtioStatus value)
    {
        if (value == VirtioStatus.None)
        {
            Reset();
            return;
        }

        // A driver may not clear a bit, and some are not its own.
        if ((_s.Status & DriversBits & ~value) != 0) CountMistake();
        var added = value & DriversBits & ~_s.Status;
        if ((added & VirtioStatus.FeaturesOk) != 0 && !AreFeaturesSound(value))
        {
            CountMistake();
            added &= ~VirtioStatus.FeaturesOk;
        }

        if ((added & VirtioStatus.DriverOk) != 0 && ((_s.Status | added) & VirtioStatus.FeaturesOk) == 0)
        {
            CountMistake();
            added &= ~VirtioStatus.DriverOk;
        }

        _s.Status |= added;
        if ((added & VirtioStatus.FeaturesOk) != 0) _device.FeaturesAgreed();
        if ((added & VirtioStatus.DriverOk) == 0) return;
        _device.DriverReady();

        // Some drivers fill their queues first, and notify too early to be heard.
        foreach (var queue in _queues) RunQueue(queue);
    }

    /// <summary>By the driver, or by the machine.</summary>
    public void Reset()
    {
        if (_s.Status != VirtioStatus.None) _before = _s.Status;
        var generation = _s.ConfigGeneration;
        _s = new State { ConfigGeneration = generation };
        foreach (var queue in _queues) queue.Reset();
        _device.WasReset();
    }

    public void SetQueueSize(uint value)
    {
        if (Selected is { IsReady: false } queue && value <= (uint)queue.MaximumSize) queue.Registers.Size = (ushort)value;
        else CountMistake();
    }

    public void EnableQueue()
    {
        if (Selected is not { IsReady: false } queue || (_s.Status & VirtioStatus.FeaturesOk) == 0)
        {
            CountMistake();
            return;
        }

        if (queue.Enable(_s.DriverFeatures) is { } fault) Break(queue.Index, fault);
        else if (IsDriverReady) RunQueue(queue);
    }

    public void ResetQueue()
    {
        if (Selected is not { } queue)
        {
            CountMistake();
            return;
        }

        var vector = queue.Registers.Vector;
        queue.Reset();
        queue.Registers.Vector = vector;
        _device.QueueWasReset(queue.Index);
    }

    /// <summary>Half of an address of the selected queue.</summary>
    public void SetArea(QueueArea area, bool high, uint value)
    {
        if (Selected is not { IsReady: false } queue)
        {
            CountMistake();
            return;
        }

        ref var address = ref Area(queue, area);
        address = high ? address & uint.MaxValue | (ulong)value << 32 : address & ~(ulong)uint.MaxValue | value;
    }

    public uint GetArea(QueueArea area, bool high) => Selected is { } queue ? (uint)(Area(queue, area) >> (high ? 32 : 0)) : 0;

    /// <summary>The driver notifies.</summary>
    public void Notify(uint index)
    {
        if (index < (uint)_queues.Length && _queues[index].IsReady && IsDriverReady) RunQueue(_queues[index]);
        else CountMistake();
    }

    /// <summary>The driver notifies by a doorbell: any thread, without the lock.</summary>
    public void Ring(int index) => _completions.Post(new VirtqueueCompletion(_queues[index], default, 0));

    public ulong ReadConfig(uint offset, int size)
    {
        Span<byte> config = stackalloc byte[VirtqueueLimits.ConfigBytes];
        var length = _device.ConfigLength;
        config = config[..length];
        if (offset >= (uint)length || (uint)size > (uint)length - offset) CountMistake();
        if (offset >= (uint)length) return 0;
        config.Clear();
        _device.FillConfig(config);
        ulong value = 0;
        for (var i = 0; i < size && offset + (uint)i < (uint)length; i++) value |= (ulong)config[(int)offset + i] << (8 * i);
        return value;
    }

    public void WriteConfig(uint offset, int size, ulong value)
    {
        var length = (uint)_device.ConfigLength;
        Span<byte> bytes = stackalloc byte[8];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        if (offset >= length || (uint)size > length - offset || !_device.TakeConfig((int)offset, bytes[..size])) CountMistake();
    }

    /// <summary>The configuration has changed.</summary>
    public void ConfigChanged()
    {
        _s.ConfigGeneration++;
        if (IsDriverReady) _transport?.SignalConfig();
    }

    /// <summary>The guest did what no driver may do, and the device cannot go on.</summary>
    public void Break(int queue, string reason)
    {
        if (IsBroken) return;
        CountMistake();
        _s.Status |= VirtioStatus.NeedsReset;
        if (_logger is not null && Mistakes <= LoggedMistakes) LogBroken(_logger, _device.Name, queue, reason);
        LastFault = reason;
        if (IsDriverReady) _transport?.SignalConfig();
    }

    public string? LastFault { get; private set; }

    public void CountMistake() => Interlocked.Increment(ref _mistakes);

    public void Interrupt(Virtqueue queue) => _transport?.SignalQueue(queue);

    public void Post(VirtqueueCompletion completion) => _completions.Post(completion);

    /// <summary>All chains from before a reset are back: what the new driver has made available meanwhile can be looked at.</summary>
    public void OnDrained(Virtqueue queue) => Schedule(queue);

    /// <summary>Has a queue looked at once more, when the device's code has returned.</summary>
    public void Schedule(Virtqueue queue)
    {
        if (queue.IsScheduled) return;
        queue.IsScheduled = true;
        if (_completions.IsConnected) _completions.Post(new VirtqueueCompletion(queue, default, 0));
        else if (_running == 0) RunScheduled();
    }

    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Status);
        visitor.Field(2, ref _s.DriverFeatures);
        visitor.Field(3, ref _s.DeviceFeatureSelect);
        visitor.Field(4, ref _s.DriverFeatureSelect);
        visitor.Field(5, ref _s.ConfigGeneration);
        visitor.Field(6, ref _s.QueueSelect);
        visitor.Part(7, _device.Fields);
        for (var i = 0; i < _queues.Length; i++) visitor.Part(100 + i, _queues[i]);
    }

    public void OnStateLoaded()
    {
        _s.Status &= DriversBits | VirtioStatus.NeedsReset;
        if (((_s.Status & VirtioStatus.FeaturesOk) != 0 && !AreFeaturesSound(_s.Status)) || (_s.Status & (VirtioStatus.FeaturesOk | VirtioStatus.DriverOk)) == VirtioStatus.DriverOk)
        {
            // Not a state that this device can have been in.
            Reset();
            _s.Status = VirtioStatus.NeedsReset;
        }

        foreach (var queue in _queues)
        {
            if (queue.IsReady && (_s.Status & VirtioStatus.FeaturesOk) == 0) queue.Reset();
            if (queue.IsReady && _transport is not null) Schedule(queue);
        }
    }

    private static ref ulong Area(Virtqueue queue, QueueArea area)
    {
        ref var registers = ref queue.Registers;
        if (area == QueueArea.Descriptors) return ref registers.DescriptorArea;
        if (area == QueueArea.Driver) return ref registers.DriverArea;
        return ref registers.DeviceArea;
    }

    private bool AreFeaturesSound(VirtioStatus status) =>
        (status & VirtioStatus.Driver) != 0 && (_s.DriverFeatures & ~Offered) == 0 && (_s.DriverFeatures & VirtioFeatures.Version1) != 0 && _device.Accepts(_s.DriverFeatures);

    private void Deliver(VirtqueueCompletion completion)
    {
        if (completion.Chain.Queue is null)
        {
            completion.Queue.IsScheduled = false;
            RunQueue(completion.Queue);
        }
        else
        {
            completion.Queue.Complete(completion.Chain, completion.Written);
        }
    }

    private void RunQueue(Virtqueue queue)
    {
        if (!queue.IsReady || !IsDriverReady || IsBroken || queue.IsDraining || !MayTransfer) return;
        _running++;
        queue.BeginBatch();
        try
        {
            _device.Run(queue);
        }
        finally
        {
            queue.EndBatch();
            _running--;
        }

        if (_running == 0 && !_completions.IsConnected) RunScheduled();
    }

    // Without a machine there is no inlet that would call later.
    private void RunScheduled()
    {
        _running++;
        for (var round = 0; round < RoundsWithoutMachine && Array.Find(_queues, static q => q.IsScheduled) is { } queue; round++)
        {
            queue.IsScheduled = false;
            RunQueue(queue);
        }

        _running--;
    }

    [LoggerMessage(LogLevel.Warning, "The driver of {Device} made a mistake on queue {Queue}: {Reason}. The device asks for a reset.")]
    private static partial void LogBroken(ILogger logger, string device, int queue, string reason);
}
