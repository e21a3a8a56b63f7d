using System.Collections.Immutable;
using Vmm.Core.Memory;

namespace Vmm.Core.Boot;

/// <summary>What a boot loader knows of the machine.</summary>
/// <param name="Memory">Guest-physical memory.</param>
/// <param name="MemoryMap">What the board tells the guest of it, sorted by address.</param>
/// <param name="RsdpAddress">Guest-physical address of the ACPI root pointer; zero without ACPI.</param>
/// <param name="VcpuCount">Number of processors.</param>
/// <param name="ExtraCommandLine">What the board and its devices want on a kernel's command line, first; may be empty.</param>
public sealed record BootContext(GuestMemory Memory, ImmutableArray<MemoryMapEntry> MemoryMap, ulong RsdpAddress, int VcpuCount, string ExtraCommandLine);
