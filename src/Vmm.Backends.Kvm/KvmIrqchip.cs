namespace Vmm.Backends.Kvm;

/// <summary>Which interrupt controllers the kernel emulates.</summary>
public enum KvmIrqchip
{
    /// <summary>The local APICs; I/O APIC, PIC and PIT are the board's. The default, and what the boards of Vmm.Devices are made for.</summary>
    Split,

    /// <summary>
    /// Local APICs, I/O APIC, PIC and PIT, at the usual addresses of a PC. Devices then raise interrupts by
    /// <see cref="KvmPartition.SetInterruptInput"/>; a board must not bring chips of its own for them.
    /// </summary>
    Kernel,

    /// <summary>None: external interrupts and NMIs only, and a halted vCPU returns from its run. For guests without an APIC.</summary>
    None,
}
