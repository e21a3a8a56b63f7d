// ACPI 6.5, 4.8 "ACPI Hardware Features": PM1 event, PM1 control, PM timer, general-purpose event block 0.
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;
using Vmm.Core.Time;

namespace Vmm.Devices.Chipset;

/// <summary>
/// ACPI power management in fixed hardware: one window of <see cref="WindowLength"/> ports with PM1a events at 0, PM1a control at 4, the
/// 32-bit PM timer at 8 and a block of 16 general-purpose events at 12. ACPI mode is always on. Sleep type
/// <see cref="SoftOff"/> switches the power off; others are ignored. The power button tells the guest's kernel to shut down.
/// </summary>
public sealed class AcpiPm : IDevice, IIoHandler, IByteWide
{
    /// <summary>The frequency of the PM timer, in Hz.</summary>
    public const long TimerFrequency = 3_579_545;

    /// <summary>The number of ports.</summary>
    public const uint WindowLength = 16;

    /// <summary>The value of SLP_TYP for S5, as the DSDT tells in _S5.</summary>
    public const byte SoftOff = 5;

    /// <summary>Offset of the PM1a event block: status, enable; 4 ports.</summary>
    public const uint EventBlock = 0;

    /// <summary>Offset of the PM1a control block; 2 ports.</summary>
    public const uint ControlBlock = 4;

    /// <summary>Offset of the PM timer; 4 ports.</summary>
    public const uint TimerBlock = 8;

    /// <summary>Offset of GPE block 0: 2 status ports, 2 enable ports.</summary>
    public const uint GpeBlock = 12;

    private const ushort TimerStatus = 1 << 0, PowerButton = 1 << 8, RtcAlarm = 1 << 10;
    private const ushort StatusBits = TimerStatus | 1 << 4 | 1 << 5 | PowerButton | 1 << 9 | RtcAlarm | 1 << 15;
    private const ushort EnableBits = TimerStatus | 1 << 5 | PowerButton | 1 << 9 | RtcAlarm;
    private const ushort SciEnable = 1 << 0, ControlBits = SciEnable | 1 << 1 | 7 << 10, SleepEnable = 1 << 13;
    private const int SleepTypeShift = 10;

    // TMR_STS is set whenever the top bit of the timer changes.
    private const int TopBit = 31;

    private struct State
    {
        public long TimerChecked;
        public ushort Status, Enable, Control, GpeStatus, GpeEnable;
    }

    private static State PowerOn => new() { Control = SciEnable };

    private readonly TickRate _rate = new(TimerFrequency);
    private readonly VmClock _clock;
    private readonly InterruptLine _sci;
    private readonly Action _powerOff;
    private readonly VmTimer _timer;
    private State _s = PowerOn;

    /// <summary>Makes the power management block.</summary>
    /// <param name="clock">The machine's clock.</param>
    /// <param name="sci">The system control interrupt.</param>
    /// <param name="powerOff">Switches the machine off.</param>
    public AcpiPm(VmClock clock, InterruptLine sci, Action powerOff)
    {
        (_clock, _sci, _powerOff) = (clock, sci, powerOff);
        _timer = clock.CreateTimer(this, Update);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _s = PowerOn with { TimerChecked = Ticks };
        Update();
    }

    /// <inheritdoc/>
    public ulong Read(uint offset, int size)
    {
        // The timer is read once, so that its bytes belong together.
        if (offset >= TimerBlock && offset + (uint)size <= GpeBlock) return (uint)Ticks >> (int)(offset - TimerBlock) * 8;
        return ByteWide.Read(this, offset, size);
    }

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value)
    {
        ByteWide.Write(this, offset, size, value);
        Update();
    }

    /// <summary>Host side: presses the power button. The guest's kernel, if it listens, shuts down. Any thread.</summary>
    public void PressPowerButton()
    {
        lock (this)
        {
            _s.Status |= PowerButton;
            Update();
        }
    }

    /// <summary>Host side: raises a general-purpose event. Any thread.</summary>
    /// <param name="number">0 to 15.</param>
    public void RaiseEvent(int number)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(number);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(number, 15);
        lock (this)
        {
            _s.GpeStatus |= (ushort)(1 << number);
            Update();
        }
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.TimerChecked);
        visitor.Field(2, ref _s.Status);
        visitor.Field(3, ref _s.Enable);
        visitor.Field(4, ref _s.Control);
        visitor.Field(5, ref _s.GpeStatus);
        visitor.Field(6, ref _s.GpeEnable);
    }

    /// <inheritdoc/>
    public void OnStateLoaded()
    {
        _s.TimerChecked = Math.Clamp(_s.TimerChecked, 0, long.MaxValue >> 1);
        _s.Status &= StatusBits;
        _s.Enable &= EnableBits;
        _s.Control = (ushort)(_s.Control & ControlBits | SciEnable);
        Drive();
    }

    byte IByteWide.ReadByte(uint offset)
    {
        if (offset == EventBlock) Update();
        return (byte)(offset switch
        {
            0 => _s.Status,
            1 => _s.Status >> 8,
            2 => _s.Enable,
            3 => _s.Enable >> 8,
            4 => _s.Control,
            5 => _s.Control >> 8,
            >= TimerBlock and < GpeBlock => Ticks >> (int)(offset - TimerBlock) * 8,
            12 => _s.GpeStatus,
            13 => _s.GpeStatus >> 8,
            14 => _s.GpeEnable,
            15 => _s.GpeEnable >> 8,
            _ => 0,
        });
    }

    void IByteWide.WriteByte(uint offset, byte value)
    {
        var high = (ushort)(value << 8);
        switch (offset)
        {
            case 0: Update(); _s.Status &= (ushort)~value; break;
            case 1: _s.Status &= (ushort)~high; break;
            case 2: _s.Enable = (ushort)((_s.Enable & 0xFF00 | value) & EnableBits); break;
            case 3: _s.Enable = (ushort)((_s.Enable & 0x00FF | high) & EnableBits); break;
            case 4: _s.Control = (ushort)((_s.Control & 0xFF00 | value) & ControlBits | SciEnable); break;
            case 5:
                _s.Control = (ushort)((_s.Control & 0x00FF | high) & ControlBits);
                if ((high & SleepEnable) != 0 && (_s.Control >> SleepTypeShift & 7) == SoftOff) _powerOff();
                break;
            case 12: _s.GpeStatus &= (ushort)~value; break;
            case 13: _s.GpeStatus &= (ushort)~high; break;
            case 14: _s.GpeEnable = (ushort)(_s.GpeEnable & 0xFF00 | value); break;
            case 15: _s.GpeEnable = (ushort)(_s.GpeEnable & 0x00FF | high); break;
        }
    }

    private long Ticks => _rate.TicksAt(_clock.Now);

    private void Update()
    {
        var ticks = Ticks;
        if (ticks >> TopBit != _s.TimerChecked >> TopBit) _s.Status |= TimerStatus;
        _s.TimerChecked = ticks;
        Drive();
    }

    private void Drive()
    {
        _sci.Level = (_s.Status & _s.Enable) != 0 || (_s.GpeStatus & _s.GpeEnable) != 0;
        if ((_s.Enable & TimerStatus) != 0 && (_s.Status & TimerStatus) == 0) _timer.Arm(_rate.NanosecondsAt(((_s.TimerChecked >> TopBit) + 1) << TopBit));
        else _timer.Disarm();
    }
}
