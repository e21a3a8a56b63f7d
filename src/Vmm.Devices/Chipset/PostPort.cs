// IBM PC/AT Technical Reference: manufacturing test port 0x80, where firmware writes power-on self-test codes.
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>The POST code port (0x80 on a PC), which kernels also write to for a short delay. The last code can be seen by guest and host.</summary>
public sealed class PostPort : IDevice, IIoHandler
{
    private uint _code;

    /// <summary>The last code that was written.</summary>
    public uint Code => Volatile.Read(ref _code);

    /// <inheritdoc/>
    public void Reset() => _code = 0;

    /// <inheritdoc/>
    public ulong Read(uint offset, int size) => _code;

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value) => Volatile.Write(ref _code, (uint)value);

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor) => visitor.Field(1, ref _code);
}
