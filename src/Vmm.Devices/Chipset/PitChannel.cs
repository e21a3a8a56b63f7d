// Intel 8254 Programmable Interval Timer data sheet (231164-005), "Mode definitions" and "Programming the 8254".
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>
/// One counter of an 8254. It holds no running count: count and output are functions of the oscillator's tick number, which
/// the caller passes, so that they are exact whenever they are asked for.
/// </summary>
internal sealed class PitChannel : IStateful
{
    private const int LowByte = 1, HighByte = 2, BothBytes = 3;
    private const byte StatusOutput = 0x80, StatusNull = 0x40;

    private struct State
    {
        // The divisor being counted (1 to 65536, 0 before the first), the one that waits for the end of a period, and the raw register.
        public int Count, Next;
        public long Start, Held, TakeOver;
        public ushort Register, Latched;
        public byte Mode, Access, Low, Status, LatchedBytes;
        public bool Bcd, Gate, Running, Paused, WriteHigh, ReadHigh, StatusLatched;
    }

    private static State PowerOn => new() { Mode = 3, Access = BothBytes, Gate = true };

    private State _s = PowerOn;

    /// <summary>The level of the GATE pin.</summary>
    public bool Gate => _s.Gate;

    public void Reset(bool gate) => _s = PowerOn with { Gate = gate };

    /// <summary>The level of the OUT pin at a tick.</summary>
    public bool Output(long tick)
    {
        Advance(tick);
        if (!_s.Running) return _s.Mode != 0;
        var d = Elapsed(tick);
        if (d < 0) return _s.Mode != 0;
        return _s.Mode switch
        {
            0 or 1 => d >= _s.Count,
            2 => _s.Paused || _s.Count == 1 || d % _s.Count != _s.Count - 1,
            3 => _s.Paused || d % _s.Count < HighTicks(_s.Count),
            _ => d != _s.Count,
        };
    }

    /// <summary>The first tick after a given one at which OUT rises; <see cref="long.MaxValue"/> for never.</summary>
    public long NextRise(long tick)
    {
        Advance(tick);
        if (!_s.Running || _s.Paused) return long.MaxValue;
        var d = tick - _s.Start;
        switch (_s.Mode)
        {
            case 0 or 1: return d < _s.Count ? _s.Start + _s.Count : long.MaxValue;
            case 4 or 5: return d < _s.Count + 1 ? _s.Start + _s.Count + 1 : long.MaxValue;
            default:
                if (_s.Count == 1) return long.MaxValue; // illegal by the data sheet; OUT does not move
                if (_s.Next != 0 && TakesOverAtHalf) return _s.TakeOver + _s.Next / 2;
                return d < 0 ? _s.Start + _s.Count : _s.Start + (d / _s.Count + 1) * _s.Count;
        }
    }

    public void WriteControl(byte value)
    {
        var gate = _s.Gate;
        var mode = (byte)((value >> 1) & 7);
        _s = new State
        {
            Mode = mode > 5 ? (byte)(mode - 4) : mode, Access = (byte)((value >> 4) & 3), Bcd = (value & 1) != 0, Gate = gate,
            Register = _s.Register,
        };
    }

    public void WriteCount(byte value, long tick)
    {
        switch (_s.Access)
        {
            case LowByte: Load(value, tick); break;
            case HighByte: Load((ushort)(value << 8), tick); break;
            default:
                if (_s.WriteHigh)
                {
                    _s.WriteHigh = false;
                    Load((ushort)(value << 8 | _s.Low), tick);
                    break;
                }

                _s.Low = value;
                _s.WriteHigh = true;
                if (_s.Mode == 0) _s.Running = false; // writing the first byte stops the count and sets OUT low
                break;
        }
    }

    public byte ReadCount(long tick)
    {
        if (_s.StatusLatched)
        {
            _s.StatusLatched = false;
            return _s.Status;
        }

        if (_s.LatchedBytes > 0)
        {
            var high = _s.Access == HighByte || (_s.Access == BothBytes && _s.LatchedBytes == 1);
            _s.LatchedBytes--;
            return (byte)(high ? _s.Latched >> 8 : _s.Latched);
        }

        var count = CountRegister(tick);
        if (_s.Access == LowByte) return (byte)count;
        if (_s.Access == HighByte) return (byte)(count >> 8);
        _s.ReadHigh = !_s.ReadHigh;
        return (byte)(_s.ReadHigh ? count : count >> 8);
    }

    public void LatchCount(long tick)
    {
        if (_s.LatchedBytes > 0) return; // further latch commands are ignored until the first is read
        _s.Latched = CountRegister(tick);
        _s.LatchedBytes = (byte)(_s.Access == BothBytes ? 2 : 1);
    }

    public void LatchStatus(long tick)
    {
        if (_s.StatusLatched) return;
        _s.StatusLatched = true;
        _s.Status = (byte)((Output(tick) ? StatusOutput : 0) | (IsNull(tick) ? StatusNull : 0) | _s.Access << 4 | _s.Mode << 1 | (_s.Bcd ? 1 : 0));
    }

    public void SetGate(bool gate, long tick)
    {
        if (gate == _s.Gate) return;
        Advance(tick);
        _s.Gate = gate;
        if (_s.Mode is 1 or 5)
        {
            if (gate && _s.Next != 0) Begin(_s.Next, tick + 1);
        }
        else if (_s.Running)
        {
            if (gate)
            {
                if (_s.Mode is 2 or 3) Begin(_s.Next != 0 ? _s.Next : _s.Count, tick + 1);
                else _s.Start = tick - _s.Held;
                _s.Paused = false;
            }
            else
            {
                _s.Held = Math.Max(tick - _s.Start, 0);
                _s.Paused = true;
            }
        }
    }

    public void VisitState(StateVisitor v)
    {
        v.Field(1, ref _s.Count);
        v.Field(2, ref _s.Next);
        v.Field(3, ref _s.Start);
        v.Field(4, ref _s.Held);
        v.Field(5, ref _s.Register);
        v.Field(6, ref _s.Latched);
        v.Field(7, ref _s.Mode);
        v.Field(8, ref _s.Access);
        v.Field(9, ref _s.Low);
        v.Field(10, ref _s.Status);
        v.Field(11, ref _s.LatchedBytes);
        v.Field(12, ref _s.Bcd);
        v.Field(13, ref _s.Gate);
        v.Field(14, ref _s.Running);
        v.Field(15, ref _s.Paused);
        v.Field(16, ref _s.WriteHigh);
        v.Field(17, ref _s.ReadHigh);
        v.Field(18, ref _s.StatusLatched);
        v.Field(19, ref _s.TakeOver);
    }

    public void OnStateLoaded()
    {
        _s.Count = Math.Clamp(_s.Count, 0, 0x10000);
        _s.Next = Math.Clamp(_s.Next, 0, 0x10000);
        _s.Start = Math.Clamp(_s.Start, -0x10000, long.MaxValue / 4);
        _s.Held = Math.Clamp(_s.Held, 0, long.MaxValue / 4);
        _s.TakeOver = Math.Clamp(_s.TakeOver, 0, long.MaxValue / 4);
        _s.Mode = Math.Min(_s.Mode, (byte)5);
        _s.Access &= 3;
        _s.LatchedBytes = Math.Min(_s.LatchedBytes, (byte)2);
        if (_s.Count == 0) _s.Running = false;
    }

    private int Modulus => _s.Bcd ? 10_000 : 0x10000;

    private static int HighTicks(int count) => (count + 1) / 2;

    private long Elapsed(long tick) => _s.Paused ? _s.Held : tick - _s.Start;

    private void Load(ushort register, long tick)
    {
        Advance(tick);
        _s.Register = register;
        var count = _s.Bcd ? FromBcd(register) : register;
        if (count == 0) count = Modulus;
        switch (_s.Mode)
        {
            case 1 or 5: // loaded by the trigger
                _s.Next = count;
                break;
            case 2 or 3 when _s.Running && !_s.Paused && tick >= _s.Start: // taken over when the period (in mode 3: half of it) ends
                if (_s.Next == 0) _s.TakeOver = _s.Start + Boundary(tick - _s.Start);
                _s.Next = count;
                break;
            case 2 or 3 when _s.Running:
                _s.Count = count;
                break;
            default:
                Begin(count, tick + 1);
                _s.Paused = !_s.Gate;
                _s.Held = 0;
                break;
        }
    }

    private void Begin(int count, long start)
    {
        (_s.Count, _s.Next, _s.Start, _s.Running) = (count, _s.Mode is 1 or 5 ? count : 0, start, true);
    }

    private long Boundary(long d)
    {
        var phase = d % _s.Count;
        return d - phase + (_s.Mode == 3 && phase < HighTicks(_s.Count) ? HighTicks(_s.Count) : _s.Count);
    }

    private bool TakesOverAtHalf => _s.Mode == 3 && (_s.TakeOver - _s.Start) % _s.Count != 0;

    // Lets a waiting divisor take over if its moment has passed.
    private void Advance(long tick)
    {
        if (_s.Next == 0 || !_s.Running || _s.Paused || _s.Mode is not (2 or 3) || tick < _s.TakeOver) return;
        // At half a period OUT goes on with the low half of the new divisor.
        Begin(_s.Next, TakesOverAtHalf ? _s.TakeOver - HighTicks(_s.Next) : _s.TakeOver);
    }

    private bool IsNull(long tick) => !_s.Running || tick < _s.Start || (_s.Mode is 1 or 5 ? _s.Next != _s.Count : _s.Next != 0);

    private ushort CountRegister(long tick)
    {
        Advance(tick);
        if (!_s.Running) return _s.Register;
        var d = Math.Max(Elapsed(tick), 0);
        long value;
        switch (_s.Mode)
        {
            case 2:
                value = _s.Count - d % _s.Count;
                break;
            case 3:
                var high = HighTicks(_s.Count);
                var phase = d % _s.Count;
                if (phase >= high) phase -= high;
                value = (_s.Count & ~1) - 2 * phase;
                break;
            default:
                value = (_s.Count - d) % Modulus;
                if (value < 0) value += Modulus;
                break;
        }

        value %= Modulus;
        return _s.Bcd ? ToBcd((int)value) : (ushort)value;
    }

    private static int FromBcd(ushort value)
    {
        var count = 0;
        for (var shift = 12; shift >= 0; shift -= 4) count = count * 10 + ((value >> shift) & 0xF);
        return Math.Min(count, 9999); // digits above 9 are undefined
    }

    private static ushort ToBcd(int value) => (ushort)(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 % 10 << 12);
}
