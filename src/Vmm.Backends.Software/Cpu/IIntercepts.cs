namespace Vmm.Backends.Software.Cpu;

/// <summary>
/// What somebody who runs this CPU as hardware runs a guest wants to decide by himself, as the execution controls of a processor with
/// virtualization do. Each method is called on the processor's thread before anything of the instruction has happened; when it returns true the
/// processor's Run returns <see cref="Core.Backends.VcpuStopKind.Debug"/> in front of the instruction.
/// </summary>
internal interface IIntercepts
{
    /// <summary>IN, OUT, or an element of INS and OUTS.</summary>
    bool Port(int processor, ushort port, int size, bool write);

    /// <summary>An access that no memory backs, or a write to ROM; not the local APIC's page.</summary>
    bool Memory(int processor, ulong gpa, bool write);

    /// <summary>CPUID.</summary>
    bool Cpuid(int processor);

    /// <summary>RDMSR or WRMSR with privilege.</summary>
    bool Msr(int processor, uint index, bool write);
}
