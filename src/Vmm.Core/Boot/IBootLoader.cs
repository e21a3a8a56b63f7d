using Vmm.Core.X86;

namespace Vmm.Core.Boot;

/// <summary>Puts a kernel, firmware or bare program into a machine before its first instruction.</summary>
public interface IBootLoader
{
    /// <summary>Looks, without side effects, for what would make the load fail, so that <c>Build()</c> can tell all problems at once.</summary>
    /// <param name="context">The machine: memory is there, contents are not.</param>
    /// <returns>A sentence a problem; empty when all is well.</returns>
    IEnumerable<string> Validate(BootContext context);

    /// <summary>Writes into memory and sets the state of the bootstrap processor.</summary>
    /// <param name="context">The machine, with the board's tables in place.</param>
    /// <param name="state">A processor after power-on reset; changed to what the guest shall start with.</param>
    /// <exception cref="Errors.BootImageException">The image is malformed or does not fit.</exception>
    void Load(BootContext context, VcpuState state);
}
