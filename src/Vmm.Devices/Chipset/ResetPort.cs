// Intel ICH9 data sheet (316972-004), 13.7.5 "RST_CNT: Reset Control Register".
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>The reset control register (port 0xCF9 on a PC): a change of bit 2 from 0 to 1 resets the machine.</summary>
/// <param name="reset">Ends the machine with a reset.</param>
public sealed class ResetPort(Action reset) : IDevice, IIoHandler
{
    private const byte ResetCpu = 0x04, Writable = 0x0E;

    private byte _control;

    /// <inheritdoc/>
    public void Reset() => _control = 0;

    /// <inheritdoc/>
    public ulong Read(uint offset, int size) => _control;

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value)
    {
        var rises = (value & ~(ulong)_control & ResetCpu) != 0;
        _control = (byte)(value & Writable);
        if (rises) reset();
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor) => visitor.Field(1, ref _control);
}
