using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.Errors;
using Vmm.Core.Memory;
using Vmm.Core.State;
using Vmm.Core.Telemetry;
using Vmm.Core.Time;

namespace Vmm.Core.Boards;

/// <summary>A machine, as boards and devices see it: what they plug into, and how they end it.</summary>
public sealed class MachineContext
{
    private readonly Lock _changes = new();
    private readonly Dictionary<IDevice, IDeviceSlot> _slots = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<IDevice, List<Action>> _doors = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<IDevice, TaskCompletionSource> _waits = new(ReferenceEqualityComparer.Instance);
    private readonly Action<string, IDevice> _ejected;
    private ImmutableList<(string Name, IDevice Device)> _devices = [];
    private readonly InletGate _inlets;
    private readonly Action<MachineExit> _end;

    internal MachineContext(IBoard board, SystemBus bus, VmClock clock, IPartition partition, ILoggerFactory loggers, InletGate inlets, BootTimeline timeline, Action<MachineExit> end, Action<string, IDevice> ejected)
    {
        (Board, Bus, Clock, Partition, LoggerFactory, _inlets, Timeline, _end) = (board, bus, clock, partition, loggers, inlets, timeline, end);
        _ejected = ejected;
    }

    /// <summary>The board.</summary>
    public IBoard Board { get; }

    /// <summary>Ports and memory-mapped I/O.</summary>
    public SystemBus Bus { get; }

    /// <summary>Guest-physical memory.</summary>
    public GuestMemory Memory => Bus.Memory;

    /// <summary>The machine's clock.</summary>
    public VmClock Clock { get; }

    /// <summary>The backend's side: vCPUs and MSIs.</summary>
    public IPartition Partition { get; }

    /// <summary>Where devices log.</summary>
    public ILoggerFactory LoggerFactory { get; }

    /// <summary>The machine's start in time; a console device calls <see cref="BootTimeline.MarkConsoleByte"/>.</summary>
    public BootTimeline Timeline { get; }

    /// <summary>What devices add to a Linux kernel's command line.</summary>
    public List<string> KernelArguments { get; } = [];

    /// <summary>
    /// The host presses the power button (<see cref="VirtualMachine.StopAsync"/>). A board with one subscribes, and hands the press to its
    /// device by an inlet. Raised on the thread that stops the machine, without a lock held.
    /// </summary>
    public event Action? PowerButtonPressed;

    /// <summary>The devices that are there now, in the order they were added.</summary>
    public IReadOnlyList<(string Name, IDevice Device)> Devices => _devices;

    /// <summary>Whether the machine was built: a device that is added now comes to a guest that may have looked at its buses already.</summary>
    public bool IsBuilt { get; internal set; }

    /// <summary>Memory that devices brought.</summary>
    internal List<MemoryRegion> DeviceMemory { get; } = [];

    /// <summary>Makes a device part of the machine: it is reset, saved, loaded and disposed with it.</summary>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="device">The device.</param>
    /// <exception cref="ArgumentException">The name is taken, or one of "clock", "memory" and "vcpu" with a number.</exception>
    public void AddDevice(string name, IDevice device) => AddDevice(name, device, null);

    /// <summary>Makes a device part of the machine that may leave it again while the guest runs.</summary>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="device">The device.</param>
    /// <param name="slot">Its place; null for a fixed part.</param>
    /// <exception cref="ArgumentException">The name is taken, or one of "clock", "memory" and "vcpu" with a number.</exception>
    public void AddDevice(string name, IDevice device, IDeviceSlot? slot)
    {
        if (MachineUnits.IsReserved(name)) throw new ArgumentException($"The name '{name}' is the machine's own; call the device something else.", nameof(name));
        lock (_changes)
        {
            if (_devices.Exists(d => d.Name == name)) throw new ArgumentException($"There is a device called '{name}' already; give each device a name of its own.", nameof(name));
            _devices = _devices.Add((name, device));
            if (slot is not null) _slots.Add(device, slot);
        }
    }

    /// <summary>
    /// The guest has let go of a device, which its bus has taken off: it is no part of the machine any more, and is freed as soon as nothing can be
    /// using it. Any thread, with locks of device code held.
    /// </summary>
    /// <param name="device">A device that was added with a slot; another is left alone.</param>
    public void Ejected(IDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (SlotOf(device) is not null && Forget(device) is { } name) _ejected(name, device);
    }

    /// <summary>Makes memory of a device's a part of the machine, which frees it at its very end: also when the device has left, as others may still have it lent.</summary>
    /// <param name="region">The region; disposed with the machine, or here if it cannot be added.</param>
    /// <exception cref="ArgumentException">It overlaps a region that is there, or its name is taken.</exception>
    /// <exception cref="HypervisorException">The backend cannot map it.</exception>
    public void AddMemory(MemoryRegion region)
    {
        ArgumentNullException.ThrowIfNull(region);
        try
        {
            Memory.Add(region);
        }
        catch
        {
            region.Dispose();
            throw;
        }

        lock (_changes) DeviceMemory.Add(region);
    }

    /// <summary>Makes a door for outside input into a device.</summary>
    /// <typeparam name="T">What comes in.</typeparam>
    /// <param name="device">The device, whose lock is held around each delivery.</param>
    /// <param name="deliver">Takes an item.</param>
    public Inlet<T> CreateInlet<T>(IDevice device, Action<T> deliver)
    {
        var inlet = new Inlet<T>(_inlets, device, deliver);
        lock (_changes)
        {
            if (!_doors.TryGetValue(device, out var doors)) _doors.Add(device, doors = []);
            doors.Add(inlet.Close);
        }

        return inlet;
    }

    /// <summary>Ends the machine: the guest powered off, asked for a reset, or wrote a debug exit. Any thread; the first end counts.</summary>
    /// <param name="exit">What happened.</param>
    public void End(MachineExit exit) => _end(exit);

    /// <summary>The place of a device that may leave; null for a fixed part, and for one that has left.</summary>
    internal IDeviceSlot? SlotOf(IDevice device)
    {
        lock (_changes) return _slots.GetValueOrDefault(device);
    }

    /// <summary>Completes when a device has left and is freed.</summary>
    internal Task WhenGone(IDevice device)
    {
        lock (_changes)
        {
            if (!_waits.TryGetValue(device, out var wait)) _waits.Add(device, wait = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
            return wait.Task;
        }
    }

    /// <summary>A device that has left is freed.</summary>
    internal void Gone(IDevice device)
    {
        TaskCompletionSource? wait;
        lock (_changes) _waits.Remove(device, out wait);
        wait?.TrySetResult();
    }

    /// <summary>Takes a device out of everything that reaches it: its windows, inlets and timers.</summary>
    /// <returns>Its name; null if it is no part of the machine.</returns>
    internal string? Forget(IDevice device)
    {
        List<Action>? doors;
        string name;
        lock (_changes)
        {
            var index = _devices.FindIndex(d => d.Device == device);
            if (index < 0) return null;
            name = _devices[index].Name;
            _devices = _devices.RemoveAt(index);
            _slots.Remove(device);
            _doors.Remove(device, out doors);
        }

        foreach (var close in doors ?? []) close();
        Bus.Ports.UnmapAll(device);
        Bus.Mmio.UnmapAll(device);
        Clock.Forget(device);
        return name;
    }

    /// <summary>Presses the power button.</summary>
    /// <returns>Whether there is one.</returns>
    internal bool PressPowerButton()
    {
        if (PowerButtonPressed is not { } pressed) return false;
        pressed();
        return true;
    }
}
