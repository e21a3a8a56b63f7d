using Microsoft.Extensions.Logging;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.Memory;
using Vmm.Core.State;
using Vmm.Core.Telemetry;
using Vmm.Core.Time;

namespace Vmm.Core.Boards;

/// <summary>A machine under construction, as boards and devices see it: what they plug into, and how they end it.</summary>
public sealed class MachineContext
{
    private readonly List<(string Name, IDevice Device)> _devices = [];
    private readonly InletGate _inlets;
    private readonly Action<MachineExit> _end;

    internal MachineContext(IBoard board, SystemBus bus, VmClock clock, IPartition partition, ILoggerFactory loggers, InletGate inlets, BootTimeline timeline, Action<MachineExit> end)
    {
        (Board, Bus, Clock, Partition, LoggerFactory, _inlets, Timeline, _end) = (board, bus, clock, partition, loggers, inlets, timeline, end);
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

    /// <summary>The devices so far, in the order they were added.</summary>
    public IReadOnlyList<(string Name, IDevice Device)> Devices => _devices;

    /// <summary>Makes a device part of the machine: it is reset, saved, loaded and disposed with it.</summary>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="device">The device.</param>
    /// <exception cref="ArgumentException">The name is taken, or one of "clock", "memory" and "vcpu" with a number.</exception>
    public void AddDevice(string name, IDevice device)
    {
        if (MachineUnits.IsReserved(name)) throw new ArgumentException($"The name '{name}' is the machine's own; call the device something else.", nameof(name));
        if (_devices.Exists(d => d.Name == name)) throw new ArgumentException($"There is a device called '{name}' already; give each device a name of its own.", nameof(name));
        _devices.Add((name, device));
    }

    /// <summary>Makes a door for outside input into a device.</summary>
    /// <typeparam name="T">What comes in.</typeparam>
    /// <param name="device">The device, whose lock is held around each delivery.</param>
    /// <param name="deliver">Takes an item.</param>
    public Inlet<T> CreateInlet<T>(IDevice device, Action<T> deliver) => new(_inlets, device, deliver);

    /// <summary>Ends the machine: the guest powered off, asked for a reset, or wrote a debug exit. Any thread; the first end counts.</summary>
    /// <param name="exit">What happened.</param>
    public void End(MachineExit exit) => _end(exit);

    /// <summary>Presses the power button.</summary>
    /// <returns>Whether there is one.</returns>
    internal bool PressPowerButton()
    {
        if (PowerButtonPressed is not { } pressed) return false;
        pressed();
        return true;
    }
}
