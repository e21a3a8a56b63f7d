using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Core.Backends;
using Vmm.Core.Boards;
using Vmm.Core.Boot;
using Vmm.Core.Errors;
using Vmm.Core.Execution;
using Vmm.Core.Memory;
using Vmm.Core.X86;

namespace Vmm.Core;

/// <summary>
/// Says what a machine shall be. Immutable: each <c>With...</c> and <c>Add...</c> returns a new builder, so that a base can be
/// shared. <see cref="Build"/> checks everything at once.
/// </summary>
public sealed record VirtualMachineBuilder
{
    /// <summary>The smallest RAM size, in bytes.</summary>
    public const ulong MinimumMemory = 64 << 10;

    /// <summary>The most vCPUs a machine may have: 8-bit local APIC ids, 255 being the broadcast.</summary>
    public const int MaximumVcpus = 255;

    internal string Name { get; init; } = "vm";

    internal IHypervisor? Backend { get; init; }

    internal Func<IBoard>? Board { get; init; }

    internal ulong Memory { get; init; } = 256 << 20;

    internal int Vcpus { get; init; } = 1;

    internal CpuModel CpuModel { get; init; } = CpuModel.X86_64_V3;

    internal IBootLoader? Loader { get; init; }

    internal ImmutableList<Action<MachineContext>> Parts { get; init; } = [];

    internal ImmutableList<Func<MemoryRegion>> Regions { get; init; } = [];

    internal ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;

    internal TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    internal int NanosecondsPerInstruction { get; init; }

    internal CpuShare Share { get; init; } = CpuShare.Unlimited;

    /// <summary>Names the machine, for logs, threads and telemetry.</summary>
    /// <param name="name">Any text.</param>
    public VirtualMachineBuilder WithName(string name) => this with { Name = name };

    /// <summary>Chooses the backend.</summary>
    /// <param name="backend">Such as <c>new SoftwareHypervisor()</c>.</param>
    public VirtualMachineBuilder WithBackend(IHypervisor backend) => this with { Backend = backend };

    /// <summary>Chooses the board.</summary>
    /// <param name="board">Makes one for each machine that is built.</param>
    public VirtualMachineBuilder WithBoard(Func<IBoard> board) => this with { Board = board };

    /// <summary>Sets the size of RAM, which the board lays out around its holes.</summary>
    /// <param name="bytes">A multiple of 4096, at least <see cref="MinimumMemory"/>.</param>
    public VirtualMachineBuilder WithMemory(ulong bytes) => this with { Memory = bytes };

    /// <summary>Adds a memory region beside RAM: a ROM, or memory of the caller's own.</summary>
    /// <param name="region">Makes the region, once for each machine that is built; the machine disposes it.</param>
    public VirtualMachineBuilder AddMemoryRegion(Func<MemoryRegion> region) => this with { Regions = Regions.Add(region) };

    /// <summary>Sets the number of vCPUs.</summary>
    /// <param name="count">1 to <see cref="MaximumVcpus"/>.</param>
    public VirtualMachineBuilder WithVcpus(int count) => this with { Vcpus = count };

    /// <summary>Chooses the CPU that the guest sees.</summary>
    /// <param name="model">A named model or one derived from it.</param>
    public VirtualMachineBuilder WithCpuModel(CpuModel model) => this with { CpuModel = model };

    /// <summary>Sets what is loaded before the first instruction.</summary>
    /// <param name="loader">A kernel, a firmware, or a bare program.</param>
    public VirtualMachineBuilder WithBootLoader(IBootLoader loader) => this with { Loader = loader };

    /// <summary>Adds a part: code that runs once when the machine is built, to make devices and plug them in.</summary>
    /// <param name="attach">Adds devices to the machine and claims their windows.</param>
    public VirtualMachineBuilder AddPart(Action<MachineContext> attach) => this with { Parts = Parts.Add(attach) };

    /// <summary>Sets where the machine logs.</summary>
    /// <param name="loggers">A logger factory.</param>
    public VirtualMachineBuilder WithLogging(ILoggerFactory loggers) => this with { LoggerFactory = loggers };

    /// <summary>Sets the host time that the guest's clock follows.</summary>
    /// <param name="time">The system's, or a test's.</param>
    public VirtualMachineBuilder WithTimeProvider(TimeProvider time) => this with { TimeProvider = time };

    /// <summary>
    /// Makes guest time the count of retired instructions instead of real time, so that a machine with one vCPU does exactly
    /// the same at each run. Waiting for a timer takes no host time. Needs <see cref="HypervisorCapabilities.VirtualTime"/>.
    /// </summary>
    /// <param name="nanosecondsPerInstruction">How far one instruction moves the clock; 1 and up.</param>
    public VirtualMachineBuilder WithCountedTime(int nanosecondsPerInstruction = 1) => this with { NanosecondsPerInstruction = nanosecondsPerInstruction };

    /// <summary>Limits the host CPU time that the vCPUs get.</summary>
    /// <param name="share">A cap, and a weight among the machines of one pool.</param>
    public VirtualMachineBuilder WithCpuShare(CpuShare share) => this with { Share = share };

    /// <summary>Builds the machine: memory is allocated, devices are made, the kernel is loaded.</summary>
    /// <exception cref="VmmConfigurationException">Something is missing, contradictory or out of range: all of it is listed.</exception>
    /// <exception cref="HypervisorException">The host refused.</exception>
    public VirtualMachine Build()
    {
        var problems = Validate(out var canGoOn);
        return canGoOn ? new VirtualMachine(this, problems) : throw new VmmConfigurationException([.. problems]);
    }

    /// <summary>Checks what can be checked without making anything.</summary>
    /// <param name="canGoOn">Whether the machine can be made far enough to find more problems.</param>
    private List<string> Validate(out bool canGoOn)
    {
        List<string> problems = [];
        if (Backend is null) problems.Add("No backend: call WithBackend, for instance with new SoftwareHypervisor().");
        else if (Backend.Probe() is { IsUsable: false } probe) problems.Add($"The backend '{probe.Backend}' cannot be used here: {probe.Detail}{(probe.Fix is null ? "" : $" To mend it: {probe.Fix}")}");
        if (Board is null) problems.Add("No board: call WithBoard, for instance with () => new MicroVmBoard().");
        if (Vcpus is < 1 or > MaximumVcpus) problems.Add($"{Vcpus} vCPUs: choose 1 to {MaximumVcpus}.");
        if (Memory < MinimumMemory || Memory % MemoryRegion.PageSize != 0) problems.Add($"Memory of {Memory} bytes: choose a multiple of {MemoryRegion.PageSize}, at least {MinimumMemory}.");
        if (NanosecondsPerInstruction < 0) problems.Add($"{NanosecondsPerInstruction} ns an instruction: choose 1 or more.");
        canGoOn = problems.Count == 0;
        if (Loader is null) problems.Add("Nothing to boot: call WithBootLoader with a kernel, a firmware or a program.");
        if (NanosecondsPerInstruction > 0 && Vcpus > 1) problems.Add("Counted time needs exactly one vCPU: instruction order between several is the host's.");
        problems.AddRange(Share.Validate());
        return problems;
    }
}
