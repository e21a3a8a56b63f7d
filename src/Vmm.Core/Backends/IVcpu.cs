using Vmm.Core.X86;

namespace Vmm.Core.Backends;

/// <summary>
/// One virtual processor. <see cref="Run"/>, <see cref="GetState"/> and <see cref="SetState"/> belong to one thread at a
/// time; <see cref="Kick"/>, <see cref="SetExternalInterrupt"/> and <see cref="InjectNmi"/> may be called from any.
/// Usable without a machine around it: set the state, run until a stop, read the state.
/// </summary>
public interface IVcpu
{
    /// <summary>The index in its partition, which is also its local APIC id.</summary>
    int Index { get; }

    /// <summary>Guest instructions retired since creation; zero without <see cref="HypervisorCapabilities.InstructionCount"/>.</summary>
    ulong InstructionsRetired { get; }

    /// <summary>Exits served since creation, by kind.</summary>
    VcpuCounters Counters { get; }

    /// <summary>
    /// Runs guest code, serving its I/O on the partition's bus, until the machine must decide. A kick that came before the
    /// call makes it return at once. Exceptions of device code pass through; the vCPU state then is that of the instruction
    /// that made the access, not completed. After <see cref="VcpuStopKind.Halted"/> a call that finds the guest still halted with nothing
    /// pending returns that again at once.
    /// </summary>
    VcpuStop Run();

    /// <summary>
    /// Makes a <see cref="Run"/> that is under way, or else the next one, return <see cref="VcpuStopKind.Kicked"/> soon.
    /// Never lost; several kicks may be served by one return. Also calls <see cref="PartitionOptions.Kicked"/>.
    /// </summary>
    void Kick();

    /// <summary>Sets the level of the external-interrupt pin (the 8259's INTR, wired to LINT0).</summary>
    /// <param name="level">Asserted or not.</param>
    void SetExternalInterrupt(bool level);

    /// <summary>Makes a non-maskable interrupt pending.</summary>
    void InjectNmi();

    /// <summary>Reads all architectural state into <paramref name="state"/>. Not while running.</summary>
    /// <param name="state">Overwritten.</param>
    void GetState(VcpuState state);

    /// <summary>Sets all architectural state. Not while running.</summary>
    /// <param name="state">Copied.</param>
    /// <exception cref="ArgumentException">A value the processor could not hold (reserved bits, non-canonical addresses); nothing was changed.</exception>
    void SetState(VcpuState state);

    /// <summary>
    /// Sets what the host's debugger wants; a stop then returns <see cref="VcpuStopKind.Debug"/> from <see cref="Run"/>. Not while running.
    /// </summary>
    /// <param name="debug">All of it; <see cref="GuestDebug.Off"/> ends debugging.</param>
    /// <exception cref="InvalidOperationException">The partition lacks one of <see cref="GuestDebug.Needs"/>.</exception>
    void SetDebug(GuestDebug debug)
    {
        if (debug.Needs != HypervisorCapabilities.None) throw new InvalidOperationException($"This backend lacks {debug.Needs}; ask IPartition.Capabilities first.");
    }
}
