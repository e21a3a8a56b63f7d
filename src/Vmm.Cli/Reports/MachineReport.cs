namespace Vmm.Cli.Reports;

/// <summary>What ran.</summary>
internal sealed record MachineReport(string Image, string Backend, string Board, ulong MemoryBytes, int Vcpus, string CpuModel);
