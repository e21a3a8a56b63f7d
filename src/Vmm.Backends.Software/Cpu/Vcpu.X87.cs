// Intel SDM vol. 1, 8.7.2: the MS-DOS compatible reporting of x87 errors.
namespace Vmm.Backends.Software.Cpu;

/// <summary>The FERR# pin.</summary>
internal sealed partial class Vcpu
{
    /// <summary>
    /// Called on this processor's thread when a waiting x87 instruction meets a pending unmasked exception while CR0.NE is
    /// clear. A board with an 8259 makes IRQ 13 of it; without one the exception is ignored.
    /// </summary>
    public Action? FloatingPointError { get; set; }
}
