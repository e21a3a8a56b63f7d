// QEMU hw/misc/debugexit.c describes the port that test kernels use; the exit code it makes of the value is the caller's business.
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>A port that ends the machine with the value written to it, of 1, 2 or 4 bytes. Reads give zero.</summary>
/// <param name="exit">Ends the machine with the value.</param>
public sealed class DebugExit(Action<uint> exit) : IDevice, IIoHandler
{
    /// <summary>The port that it is put at unless another is chosen.</summary>
    public const ushort DefaultPort = 0xF4;

    /// <summary>The number of ports.</summary>
    public const uint WindowLength = 4;

    /// <inheritdoc/>
    public void Reset() { }

    /// <inheritdoc/>
    public ulong Read(uint offset, int size) => 0;

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value) => exit((uint)value);

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor) { }
}
