// IBM PS/2 Hardware Interface Technical Reference: system control port A (0x92).
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>
/// System control port A (0x92 on a PC): fast reset in bit 0, fast A20 in bit 1. Like chipsets since 2014 this machine has no
/// A20 mask: the bit is stored, and starts as one, but address line 20 always works.
/// </summary>
/// <param name="reset">Ends the machine with a reset.</param>
public sealed class SystemControlPort(Action reset) : IDevice, IIoHandler
{
    private const byte FastReset = 0x01, A20 = 0x02, Writable = 0xDB;

    private byte _control = A20;

    /// <inheritdoc/>
    public void Reset() => _control = A20;

    /// <inheritdoc/>
    public ulong Read(uint offset, int size) => _control;

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value)
    {
        var rises = (value & ~(ulong)_control & FastReset) != 0;
        _control = (byte)(value & Writable);
        if (rises) reset();
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor) => visitor.Field(1, ref _control);
}
