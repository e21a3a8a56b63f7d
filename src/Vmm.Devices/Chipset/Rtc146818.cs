// Motorola MC146818A data sheet (ADI851R2); index and data ports, century byte: IBM PC/AT and PS/2 Technical References.
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;
using Vmm.Core.Time;

namespace Vmm.Devices.Chipset;

/// <summary>
/// The real-time clock with 128 bytes of battery-backed memory behind an index and a data port. Its calendar is
/// <see cref="VmClock.UtcNow"/> plus what the guest has set it off by; the battery keeps memory and calendar over a reset. A calendar
/// that does not exist (month 99) becomes the nearest one that does.
/// </summary>
public sealed class Rtc146818 : IDevice, IIoHandler, IByteWide
{
    /// <summary>Bytes of memory, the registers included.</summary>
    public const int Size = 128;

    /// <summary>Where the century is, as ACPI's FADT tells.</summary>
    public const byte Century = 0x32;

    private const byte Seconds = 0, SecondsAlarm = 1, Minutes = 2, MinutesAlarm = 3, Hours = 4, HoursAlarm = 5, DayOfWeek = 6, Day = 7, Month = 8, Year = 9;
    private const byte RegisterA = 0x0A, RegisterB = 0x0B, RegisterC = 0x0C, RegisterD = 0x0D;
    private const byte Updating = 0x80, DividerMask = 0x70, DividerReset = 0x60, RateMask = 0x0F, NormalA = 0x26;
    private const byte Set = 0x80, Periodic = 0x40, Alarm = 0x20, Update = 0x10, Binary = 0x04, Hours24 = 0x02, Interrupts = Periodic | Alarm | Update;
    private const byte InterruptRequest = 0x80, ValidRam = 0x80, AnyAlarm = 0xC0, Afternoon = 0x80;
    private const long Second = TimeSpan.TicksPerSecond, Crystal = 32_768;

    // The calendar wraps after year 9999: it must go on moving, or a periodic interrupt would be due for ever.
    private const long EndOfTime = 3_155_378_976_000_000_000;

    // UIP rises 244 us before an update, which takes 1984 us (data sheet, table 6).
    private const long UpdateTicks = 2228 * TimeSpan.TicksPerMicrosecond;

    private struct State
    {
        public long Offset, Checked;
        public byte Index, Flags;
    }

    private readonly byte[] _ram = new byte[Size];
    private readonly VmClock _clock;
    private readonly InterruptLine _irq;
    private readonly VmTimer _timer;
    private State _s;

    /// <summary>Makes the clock; 24 hours, BCD.</summary>
    /// <param name="clock">The machine's clock.</param>
    /// <param name="irq">Its interrupt (IRQ 8 on a PC).</param>
    public Rtc146818(VmClock clock, InterruptLine irq)
    {
        (_clock, _irq) = (clock, irq);
        _timer = clock.CreateTimer(this, Refresh);
        (_ram[RegisterA], _ram[RegisterB]) = (NormalA, Hours24);
        _s.Checked = Calendar;
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _s.Index = 0;
        _s.Flags = 0;
        _ram[RegisterB] &= unchecked((byte)~(Interrupts | 0x08));
        _s.Checked = Calendar;
        Refresh();
    }

    /// <inheritdoc/>
    public ulong Read(uint offset, int size) => ByteWide.Read(this, offset, size);

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value) => ByteWide.Write(this, offset, size, value);

    /// <summary>Host side: sets a byte of the battery-backed memory, as firmware would find it. Not the registers below 0x0E, nor the century.</summary>
    /// <param name="index">0x0E to 0x7F.</param>
    /// <param name="value">The byte.</param>
    public void SetMemory(byte index, byte value)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(index, RegisterD + 1, nameof(index));
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Size, nameof(index));
        lock (this) _ram[index] = value;
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Offset);
        visitor.Field(2, ref _s.Checked);
        visitor.Field(3, ref _s.Index);
        visitor.Field(4, ref _s.Flags);
        visitor.Array(5, _ram.AsSpan());
    }

    /// <inheritdoc/>
    public void OnStateLoaded()
    {
        _s.Index &= Size - 1;
        _ram[RegisterA] &= DividerMask | RateMask;
        _s.Checked = Math.Clamp(_s.Checked, 0, DateTime.MaxValue.Ticks);
        _s.Flags &= Interrupts;
        Drive();
    }

    byte IByteWide.ReadByte(uint offset) => (offset & 1) == 0 ? (byte)0xFF : ReadRegister(_s.Index);

    void IByteWide.WriteByte(uint offset, byte value)
    {
        if ((offset & 1) == 0) _s.Index = (byte)(value & (Size - 1)); // bit 7 masks the NMI, of which this machine has none
        else WriteRegister(_s.Index, value);
    }

    /// <summary>The calendar that the clock shows, in units of 100 ns since year 1.</summary>
    private long Calendar
    {
        get
        {
            var ticks = (_clock.UtcNow.Ticks + _s.Offset % EndOfTime) % EndOfTime;
            return ticks < 0 ? ticks + EndOfTime : ticks;
        }
    }

    private bool IsSet => (_ram[RegisterB] & Set) != 0;

    private bool IsStopped => (_ram[RegisterA] & DividerReset) == DividerReset;

    private static bool IsCalendar(byte index) => index is Seconds or Minutes or Hours or (>= DayOfWeek and <= Year) or Century;

    private byte ReadRegister(byte index)
    {
        switch (index)
        {
            case RegisterA:
                var updating = !IsSet && !IsStopped && Calendar % Second >= Second - UpdateTicks;
                return (byte)(_ram[RegisterA] | (updating ? Updating : 0));
            case RegisterC:
                Refresh();
                var flags = (byte)(_s.Flags | (_irq.Level ? InterruptRequest : 0));
                _s.Flags = 0;
                Refresh();
                return flags;
            case RegisterD: return ValidRam;
            default:
                if (IsCalendar(index) && !IsSet) ShowCalendar();
                return _ram[index];
        }
    }

    private void WriteRegister(byte index, byte value)
    {
        if (index is RegisterC or RegisterD) return;
        Refresh();
        if (index == RegisterA)
        {
            var wasStopped = IsStopped;
            if (!wasStopped && !IsSet && (value & DividerReset) == DividerReset) ShowCalendar();
            _ram[RegisterA] = (byte)(value & ~Updating);
            // The first update comes half a second after the divider is released.
            if (wasStopped && !IsStopped) SetCalendar(Second / 2);
        }
        else if (index == RegisterB)
        {
            var wasSet = IsSet;
            if (!wasSet && (value & Set) != 0) ShowCalendar();
            var phase = Calendar % Second;
            _ram[RegisterB] = (value & Set) != 0 ? (byte)(value & ~Update) : value; // SET clears UIE
            if (wasSet && !IsSet && !IsStopped) SetCalendar(phase);
        }
        else if (IsCalendar(index) && !IsSet && !IsStopped)
        {
            ShowCalendar();
            _ram[index] = value;
            SetCalendar(Calendar % Second);
        }
        else
        {
            _ram[index] = value;
        }

        Refresh();
    }

    // Calendar to registers.
    private void ShowCalendar()
    {
        if (IsStopped) return;
        var now = new DateTime(Calendar, DateTimeKind.Utc);
        _ram[Seconds] = Encode(now.Second);
        _ram[Minutes] = Encode(now.Minute);
        _ram[Hours] = EncodeHour(now.Hour);
        _ram[DayOfWeek] = Encode((int)now.DayOfWeek + 1);
        _ram[Day] = Encode(now.Day);
        _ram[Month] = Encode(now.Month);
        _ram[Year] = Encode(now.Year % 100);
        _ram[Century] = Encode(now.Year / 100);
    }

    // Registers to calendar.
    private void SetCalendar(long phase)
    {
        var year = Math.Clamp(Decode(_ram[Century]) * 100 + Math.Min(Decode(_ram[Year]), 99), 1, 9999);
        var month = Math.Clamp(Decode(_ram[Month]), 1, 12);
        var day = Math.Clamp(Decode(_ram[Day]), 1, DateTime.DaysInMonth(year, month));
        var time = new DateTime(year, month, day, Math.Min(DecodeHour(_ram[Hours]), 23), Math.Min(Decode(_ram[Minutes]), 59), Math.Min(Decode(_ram[Seconds]), 59), DateTimeKind.Utc);
        _s.Offset = time.Ticks + phase - _clock.UtcNow.Ticks;
        _s.Checked = Calendar;
    }

    private byte Encode(int value) => (byte)((_ram[RegisterB] & Binary) != 0 ? value : value / 10 << 4 | value % 10);

    private int Decode(byte value) => (_ram[RegisterB] & Binary) != 0 ? value : (value >> 4) * 10 + (value & 0xF);

    private byte EncodeHour(int hour)
    {
        if ((_ram[RegisterB] & Hours24) != 0) return Encode(hour);
        return (byte)(Encode(hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? Afternoon : 0));
    }

    private int DecodeHour(byte value)
    {
        if ((_ram[RegisterB] & Hours24) != 0) return Decode(value);
        return Decode((byte)(value & ~Afternoon)) % 12 + ((value & Afternoon) != 0 ? 12 : 0);
    }

    // Periods are powers of two of the crystal: rates 1 and 2 are as 8 and 9.
    private long PeriodCycles => (_ram[RegisterA] & RateMask) switch { 0 => 0, var rate and < 3 => 1L << (rate + 6), var rate => 1L << (rate - 1) };

    private static long CyclesAt(long calendar) => calendar / Second * Crystal + calendar % Second * Crystal / Second;

    private static long CalendarAt(long cycles) => cycles / Crystal * Second + (cycles % Crystal * Second + Crystal - 1) / Crystal;

    // Sets the flags of what has happened since the last look, drives the interrupt, and arms for what it waits for next.
    private void Refresh()
    {
        var now = Calendar;
        var since = Math.Min(_s.Checked, now);
        if (!IsStopped)
        {
            var period = PeriodCycles;
            if (period != 0 && CyclesAt(now) / period != CyclesAt(since) / period) _s.Flags |= Periodic;
            if (!IsSet && now / Second != since / Second)
            {
                _s.Flags |= Update;
                if (NextAlarm(since / Second) <= now / Second) _s.Flags |= Alarm;
            }
        }

        _s.Checked = now;
        Drive();
    }

    private void Drive()
    {
        _irq.Level = (_s.Flags & _ram[RegisterB] & Interrupts) != 0;
        var (now, next) = (_s.Checked, long.MaxValue);
        if (!_irq.Level && !IsStopped)
        {
            var enabled = _ram[RegisterB];
            if ((enabled & Periodic) != 0 && PeriodCycles is var period and not 0) next = CalendarAt((CyclesAt(now) / period + 1) * period);
            if ((enabled & Update) != 0 && !IsSet) next = Math.Min(next, (now / Second + 1) * Second);
            if ((enabled & Alarm) != 0 && !IsSet && NextAlarm(now / Second) is var alarm and not long.MaxValue) next = Math.Min(next, alarm * Second);
        }

        if (next == long.MaxValue) _timer.Disarm();
        else _timer.Arm((_clock.Now / 100 + (next - Calendar)) * 100);
    }

    // The first second after a given one (both since year 1) that the alarm registers match, within a day; else never.
    private long NextAlarm(long after)
    {
        var second = after + 1;
        for (var step = 0; step < 24 + 60 + 60 + 3 && second - after <= 86_400; step++)
        {
            if (!Matches(_ram[HoursAlarm], EncodeHour((int)(second / 3600 % 24)))) second = (second / 3600 + 1) * 3600;
            else if (!Matches(_ram[MinutesAlarm], Encode((int)(second / 60 % 60)))) second = (second / 60 + 1) * 60;
            else if (!Matches(_ram[SecondsAlarm], Encode((int)(second % 60)))) second++;
            else return second;
        }

        return long.MaxValue;
    }

    private static bool Matches(byte alarm, byte value) => (alarm & AnyAlarm) == AnyAlarm || alarm == value;
}
