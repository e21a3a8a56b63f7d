using System.Collections.Immutable;

namespace Vmm.Core.Backends;

/// <summary>
/// What the host's debugger wants of one vCPU; the guest sees none of it. While <see cref="Breakpoints"/> are set, the guest's own debug
/// registers have no effect.
/// </summary>
public sealed record GuestDebug
{
    /// <summary>No debugger.</summary>
    public static GuestDebug Off { get; } = new();

    /// <summary>Stop after each instruction. Needs <see cref="HypervisorCapabilities.SingleStep"/>.</summary>
    public bool SingleStep { get; init; }

    /// <summary>Stop at each INT3, before it runs. Needs <see cref="HypervisorCapabilities.SoftwareBreakpoints"/>.</summary>
    public bool SoftwareBreakpoints { get; init; }

    /// <summary>At most four breakpoints in debug registers. Needs <see cref="HypervisorCapabilities.HardwareBreakpoints"/>.</summary>
    public ImmutableArray<HardwareBreakpoint> Breakpoints { get; init; } = [];

    /// <summary>The abilities it takes.</summary>
    public HypervisorCapabilities Needs =>
        (SingleStep ? HypervisorCapabilities.SingleStep : 0) | (SoftwareBreakpoints ? HypervisorCapabilities.SoftwareBreakpoints : 0) |
        (Breakpoints.IsEmpty ? 0 : HypervisorCapabilities.HardwareBreakpoints);

    /// <summary>The breakpoints as a processor's DR7 (Intel SDM vol. 3, 18.2.4): global enables, kinds and lengths.</summary>
    public ulong Dr7
    {
        get
        {
            ulong value = 0x400;
            for (var i = 0; i < Breakpoints.Length; i++)
            {
                var (_, kind, length) = Breakpoints[i];
                var (rw, len) = ((ulong)kind, length switch { 2 => 1UL, 4 => 3UL, 8 => 2UL, _ => 0UL });
                value |= 2UL << (i * 2) | rw << (16 + i * 4) | len << (18 + i * 4);
            }

            return value;
        }
    }
}
