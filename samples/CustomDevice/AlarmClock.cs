// A device of our own; its specification is this table. Registers are 32 bits wide.
//   0x00  ID      read        0x4D524C41, "ALRM"
//   0x04  DELAY   write       rings so many microseconds from now; 0 takes the alarm back
//   0x08  STATUS  read        bit 0: it rings
//                 write       bit 0: silence it
//   0x0C  COUNT   read        how often it has rung
// The interrupt is a level: asserted while it rings.
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;
using Vmm.Core.Time;

namespace CustomDevice;

/// <summary>An alarm clock in guest time.</summary>
public sealed class AlarmClock : IDevice, IIoHandler
{
    public const uint WindowLength = 0x10;
    public const uint Id = 0x00, Delay = 0x04, Status = 0x08, Count = 0x0C;
    public const uint Signature = 0x4D52_4C41, Rings = 1;

    /// <summary>Everything the guest can observe. Reset, save, load and dump all go through it.</summary>
    private struct State
    {
        public long Deadline;
        public uint Status, Count;
    }

    private static State PowerOn => new() { Deadline = long.MaxValue };

    private readonly VmClock _clock;
    private readonly InterruptLine _irq;
    private readonly VmTimer _timer;
    private State _s = PowerOn;

    /// <param name="clock">The machine's clock: it stands while the machine is paused.</param>
    /// <param name="irq">The wire to whatever the board has put at its other end.</param>
    public AlarmClock(VmClock clock, InterruptLine irq)
    {
        (_clock, _irq) = (clock, irq);
        _timer = clock.CreateTimer(this, Ring);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _s = PowerOn;
        Update();
    }

    /// <inheritdoc/>
    public ulong Read(uint offset, int size) => offset switch
    {
        Id => Signature,
        Status => _s.Status,
        Count => _s.Count,
        _ => 0,
    };

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value)
    {
        switch (offset)
        {
            case Delay:
                // At most 2^32 microseconds: no overflow, whatever the guest writes.
                _s.Deadline = (uint)value == 0 ? long.MaxValue : _clock.Now + (uint)value * 1000L;
                break;
            case Status:
                _s.Status &= ~((uint)value & Rings);
                break;
        }

        Update();
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Deadline);
        visitor.Field(2, ref _s.Status);
        visitor.Field(3, ref _s.Count);
    }

    /// <inheritdoc/>
    public void OnStateLoaded()
    {
        _s.Status &= Rings;
        Update();
    }

    private void Ring()
    {
        _s.Deadline = long.MaxValue;
        _s.Status |= Rings;
        _s.Count++;
        Update();
    }

    // What follows from the state, after any change of it: the wire and the timer.
    private void Update()
    {
        _irq.Level = (_s.Status & Rings) != 0;
        if (_s.Deadline == long.MaxValue) _timer.Disarm();
        else _timer.Arm(_s.Deadline);
    }
}
