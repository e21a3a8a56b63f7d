// Intel 8259A data sheet (231468-003): a master and a slave on input 2, as on every PC since the AT.
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>
/// The pair of 8259A interrupt controllers of a PC, with the edge/level control registers of PCI chipsets. It is a sink of 16
/// inputs (ISA IRQs; input 2 is the cascade and cannot be driven), drives one output, and answers acknowledge cycles. An
/// acknowledge with nothing pending gives the spurious interrupt 7 or 15, whose in-service bit is not set.
/// </summary>
public sealed class Pic8259 : IDevice, IInterruptSink
{
    private const int Cascade = 2, Spurious = 7;

    // IRQ 0, 1, 2, 8 and 13 are edge-triggered for ever.
    private readonly Pic8259Chip _master = new(Cascade, elcrMask: 0xF8);
    private readonly Pic8259Chip _slave = new(cascadeInput: -1, elcrMask: 0xDE);
    private readonly Action<bool> _output;
    private bool _level;

    /// <summary>Makes the pair.</summary>
    /// <param name="output">Hears each change of the master's INT output; called under the device's lock.</param>
    public Pic8259(Action<bool> output)
    {
        _output = output;
        MasterPorts = new ChipPorts(this, _master);
        SlavePorts = new ChipPorts(this, _slave);
        TriggerPorts = new Elcr(this);
    }

    /// <summary>The master's two ports (0x20 on a PC). Map it with this device as the gate.</summary>
    public IIoHandler MasterPorts { get; }

    /// <summary>The slave's two ports (0xA0 on a PC). Map it with this device as the gate.</summary>
    public IIoHandler SlavePorts { get; }

    /// <summary>The two edge/level control registers (0x4D0 on a PC). Map it with this device as the gate.</summary>
    public IIoHandler TriggerPorts { get; }

    /// <inheritdoc/>
    public void Reset()
    {
        _master.Reset();
        _slave.Reset();
        UpdateOutput();
    }

    /// <inheritdoc/>
    public void SetInput(int input, bool level)
    {
        if (input is < 0 or > 15 or Cascade) return;
        lock (this)
        {
            if (input < 8) _master.SetLine(input, level);
            else _slave.SetLine(input - 8, level);
            UpdateOutput();
        }
    }

    /// <summary>An acknowledge cycle of the processor. Any thread.</summary>
    /// <returns>The interrupt vector.</returns>
    public byte Acknowledge()
    {
        lock (this)
        {
            var vector = AcknowledgeMaster();
            UpdateOutput();
            return vector;
        }
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Part(1, _master);
        visitor.Part(2, _slave);
    }

    /// <inheritdoc/>
    public void OnStateLoaded()
    {
        _level = !(_master.Pending() >= 0);
        UpdateOutput();
    }

    private byte AcknowledgeMaster()
    {
        var input = _master.Pending();
        if (input < 0) return (byte)(_master.VectorBase + Spurious);
        _master.Acknowledge(input);
        if (input != Cascade) return (byte)(_master.VectorBase + input);
        input = _slave.Pending();
        if (input < 0) return (byte)(_slave.VectorBase + Spurious);
        _slave.Acknowledge(input);
        return (byte)(_slave.VectorBase + input);
    }

    private void UpdateOutput()
    {
        _master.SetLine(Cascade, _slave.Pending() >= 0);
        var level = _master.Pending() >= 0;
        if (level == _level) return;
        _level = level;
        _output(level);
    }

    private sealed class ChipPorts(Pic8259 pair, Pic8259Chip chip) : IIoHandler
    {
        public ulong Read(uint offset, int size)
        {
            var value = ByteWide.Read(chip, offset, size);
            pair.UpdateOutput();
            return value;
        }

        public void Write(uint offset, int size, ulong value)
        {
            ByteWide.Write(chip, offset, size, value);
            pair.UpdateOutput();
        }

        public override string ToString() => nameof(Pic8259);
    }

    private sealed class Elcr(Pic8259 pair) : IIoHandler, IByteWide
    {
        public ulong Read(uint offset, int size) => ByteWide.Read(this, offset, size);

        public void Write(uint offset, int size, ulong value)
        {
            ByteWide.Write(this, offset, size, value);
            pair.UpdateOutput();
        }

        public byte ReadByte(uint offset) => (offset & 1) == 0 ? pair._master.Elcr : pair._slave.Elcr;

        public void WriteByte(uint offset, byte value)
        {
            if ((offset & 1) == 0) pair._master.Elcr = value;
            else pair._slave.Elcr = value;
        }

        public override string ToString() => nameof(Pic8259);
    }
}
