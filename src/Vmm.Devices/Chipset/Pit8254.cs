// Intel 8254 Programmable Interval Timer data sheet (231164-005); port 0x61: IBM PC/AT Technical Reference, "System Board I/O".
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;
using Vmm.Core.Time;

namespace Vmm.Devices.Chipset;

/// <summary>
/// The 8254 interval timer of a PC, with the system control port that gates its channel 2. All three channels count 1.193182
/// MHz of the machine's clock exactly. Channel 0 drives an interrupt line. Its rising edges lie on exact multiples of the
/// divisor and never drift; edges that the host was too late for, or that come closer together than
/// <see cref="MinimumInterrupt"/>, are merged into one, so that no guest can make the host spin.
/// </summary>
public sealed class Pit8254 : IDevice, IIoHandler
{
    /// <summary>The input frequency of the channels, in Hz.</summary>
    public const long Frequency = 1_193_182;

    /// <summary>The least time between two interrupts, in nanoseconds.</summary>
    public const long MinimumInterrupt = 100_000;

    private const long MinimumInterruptTicks = Frequency / (1_000_000_000 / MinimumInterrupt) + 1;
    private const uint Control = 3;
    private const int ReadBack = 3;
    private const byte ReadBackNoCount = 0x20, ReadBackNoStatus = 0x10;
    private const byte SpeakerGate = 0x01, SpeakerWritable = 0x0F, RefreshToggle = 0x10, SpeakerOutput = 0x20;

    // The AT refreshes memory with channel 1 at a divisor of 18; bit 4 of port 0x61 changes with each refresh.
    private const int RefreshTicks = 18;

    private struct State
    {
        public long NextEdge;
        public byte Speaker;

        // The line follows OUT at each edge that matters, not at the falls between; so it is state of its own.
        public bool Line;
    }

    private static State PowerOn => new() { NextEdge = long.MaxValue };

    private readonly TickRate _rate = new(Frequency);
    private readonly PitChannel[] _channels = [new(), new(), new()];
    private readonly VmClock _clock;
    private readonly InterruptLine _irq;
    private readonly VmTimer _timer;
    private State _s = PowerOn;

    /// <summary>Makes the timer.</summary>
    /// <param name="clock">The machine's clock.</param>
    /// <param name="irq">Where the output of channel 0 leads (IRQ 0 on a PC).</param>
    public Pit8254(VmClock clock, InterruptLine irq)
    {
        (_clock, _irq) = (clock, irq);
        _timer = clock.CreateTimer(this, OnEdge);
        SpeakerPort = new Speaker(this);
    }

    /// <summary>The system control port (0x61 on a PC). Map it with this device as the gate.</summary>
    public IIoHandler SpeakerPort { get; }

    /// <inheritdoc/>
    public void Reset()
    {
        _s = PowerOn;
        for (var i = 0; i < 3; i++) _channels[i].Reset(gate: i != 2);
        Follow(Tick);
    }

    /// <inheritdoc/>
    public ulong Read(uint offset, int size)
    {
        ulong value = 0;
        for (var i = 0; i < size; i++) value |= (ulong)ReadByte((offset + (uint)i) & 3) << (i * 8);
        return value;
    }

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value)
    {
        for (var i = 0; i < size; i++) WriteByte((offset + (uint)i) & 3, (byte)(value >> (i * 8)));
    }

    /// <summary>Host side: the level of a channel's output now.</summary>
    /// <param name="channel">0 to 2.</param>
    public bool Output(int channel)
    {
        lock (this) return _channels[channel].Output(Tick);
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.NextEdge);
        visitor.Field(2, ref _s.Speaker);
        for (var i = 0; i < 3; i++) visitor.Part(3 + i, _channels[i]);
        visitor.Field(6, ref _s.Line);
    }

    /// <inheritdoc/>
    public void OnStateLoaded()
    {
        if (_s.NextEdge < 0) _s.NextEdge = long.MaxValue;
        _irq.Level = _s.Line;
        Arm();
    }

    private long Tick => _rate.TicksAt(_clock.Now);

    private byte ReadByte(uint register) => register == Control ? (byte)0xFF : _channels[register].ReadCount(Tick);

    private void WriteByte(uint register, byte value)
    {
        var tick = Tick;
        if (register == Control && value >> 6 == ReadBack)
        {
            LatchSeveral(value, tick);
            return;
        }

        var channel = register == Control ? value >> 6 : (int)register;
        if (register == Control && (value & 0x30) == 0)
        {
            _channels[channel].LatchCount(tick);
            return;
        }

        // An edge that came before this write must not be lost because the host is late with it.
        if (channel == 0 && _s.NextEdge <= tick) OnEdge();
        if (register == Control) _channels[channel].WriteControl(value);
        else _channels[channel].WriteCount(value, tick);
        if (channel == 0) Follow(tick);
    }

    private void LatchSeveral(byte value, long tick)
    {
        for (var i = 0; i < 3; i++)
        {
            if ((value & (2 << i)) == 0) continue;
            if ((value & ReadBackNoCount) == 0) _channels[i].LatchCount(tick);
            if ((value & ReadBackNoStatus) == 0) _channels[i].LatchStatus(tick);
        }
    }

    private void OnEdge()
    {
        // OUT was low at some time since the last edge; the line shows it, even where OUT has risen already or fallen again.
        _irq.Level = false;
        _irq.Level = true;
        var tick = Tick;
        var soonest = _s.NextEdge + MinimumInterruptTicks;
        _irq.Level = _s.Line = _channels[0].Output(tick);
        Schedule(Math.Max(tick, soonest - 1));
    }

    private void Follow(long tick)
    {
        _irq.Level = _s.Line = _channels[0].Output(tick);
        Schedule(tick);
    }

    private void Schedule(long after)
    {
        _s.NextEdge = _channels[0].NextRise(after);
        Arm();
    }

    private void Arm()
    {
        if (_s.NextEdge == long.MaxValue) _timer.Disarm();
        else _timer.Arm(_rate.NanosecondsAt(_s.NextEdge));
    }

    private sealed class Speaker(Pit8254 pit) : IIoHandler
    {
        public ulong Read(uint offset, int size)
        {
            var tick = pit.Tick;
            var refresh = tick / RefreshTicks % 2 != 0 ? RefreshToggle : 0;
            var output = pit._channels[2].Output(tick) ? SpeakerOutput : 0;
            return (ulong)(pit._s.Speaker | refresh | output);
        }

        public void Write(uint offset, int size, ulong value)
        {
            pit._s.Speaker = (byte)(value & SpeakerWritable);
            pit._channels[2].SetGate((value & SpeakerGate) != 0, pit.Tick);
        }

        public override string ToString() => nameof(Pit8254);
    }
}
