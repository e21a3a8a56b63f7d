using Vmm.Core.Memory;
using Vmm.Devices.Virtio;

namespace Vmm.TestSupport.Virtio;

/// <summary>A well-behaved driver of any virtio device, over nothing but a bus and guest memory: initialisation, queues, requests.</summary>
public sealed class VirtioDriver(DriverTransport transport, GuestMemory memory, ulong queueMemory)
{
    private const int ResetPolls = 10_000_000;

    private readonly List<DriverQueue> _queues = [];

    public DriverTransport Transport { get; } = transport;

    public GuestMemory Memory { get; } = memory;

    /// <summary>Called after each reset: lets a device that holds requests until a test says so give them back.</summary>
    public Action? Settle { get; set; }

    public IReadOnlyList<DriverQueue> Queues => _queues;

    public ulong Features { get; private set; }

    public ulong Offered => Transport.ReadFeatures(0) | (ulong)Transport.ReadFeatures(1) << 32;

    /// <summary>Resets the device and initialises it as virtio 1.3, 3.1.1 says.</summary>
    /// <param name="queues">How many queues to set up.</param>
    /// <param name="size">Descriptors in each.</param>
    /// <param name="wanted">The features to take of those that are offered.</param>
    public void Start(int queues, int size, ulong wanted = ulong.MaxValue)
    {
        Negotiate(wanted);
        for (var i = 0; i < queues; i++) SetUp(i, size);
        Transport.Status |= VirtioStatus.DriverOk;
    }

    /// <summary>The steps up to FEATURES_OK.</summary>
    public void Negotiate(ulong wanted = ulong.MaxValue)
    {
        Transport.Status = VirtioStatus.None;
        Settle?.Invoke();

        // virtio-pci tells of requests that the device is not done with; they are on other threads.
        for (var i = 0; Transport.Status != VirtioStatus.None; i++)
        {
            if (i == ResetPolls) throw new InvalidOperationException("The device is not reset.");
            Thread.Yield();
        }

        _queues.Clear();
        Transport.Status |= VirtioStatus.Acknowledge;
        Transport.Status |= VirtioStatus.Driver;
        Features = Offered & wanted;
        Transport.WriteFeatures(0, (uint)Features);
        Transport.WriteFeatures(1, (uint)(Features >> 32));
        Transport.Status |= VirtioStatus.FeaturesOk;
        if ((Transport.Status & VirtioStatus.FeaturesOk) == 0) throw new InvalidOperationException($"The device does not take the features 0x{Features:x}.");
    }

    /// <summary>Sets a queue up and enables it; one that was there before is replaced.</summary>
    public DriverQueue SetUp(int index, int size)
    {
        var start = queueMemory + (ulong)index * DriverQueue.AreaStride;
        if (size > DriverQueue.MaximumSize) throw new ArgumentOutOfRangeException(nameof(size));
        var (descriptors, driver, device) = (start, start + DriverQueue.DriverOffset, start + DriverQueue.DeviceOffset);
        Memory.TryFill(descriptors, (ulong)size * 16, 0);
        Memory.TryFill(driver, (ulong)size * 2 + 8, 0);
        Memory.TryFill(device, (ulong)size * 8 + 8, 0);
        var eventIndex = (Features & VirtioFeatures.EventIndex) != 0;
        DriverQueue queue = (Features & VirtioFeatures.RingPacked) != 0
            ? new PackedDriverQueue(Memory, index, size, descriptors, driver, device, eventIndex)
            : new SplitDriverQueue(Memory, index, size, descriptors, driver, device, eventIndex);
        Transport.SelectQueue((uint)index);
        if (size > Transport.QueueSizeMaximum) throw new InvalidOperationException($"Queue {index} has {Transport.QueueSizeMaximum} descriptors at most.");
        Transport.SetQueueSize((uint)size);
        Transport.SetQueueAreas(descriptors, driver, device);
        Transport.EnableQueue();
        while (_queues.Count <= index) _queues.Add(queue);
        _queues[index] = queue;
        return queue;
    }

    /// <summary>Makes a chain available and notifies if the device wants that.</summary>
    public int Send(int queue, params ReadOnlySpan<Buffer> buffers)
    {
        var id = _queues[queue].Add(buffers);
        if (_queues[queue].WantsNotification()) Transport.Notify((uint)queue);
        return id;
    }
}
