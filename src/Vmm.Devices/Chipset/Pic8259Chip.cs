// Intel 8259A Programmable Interrupt Controller data sheet (231468-003); ELCR: Intel 82371AB (PIIX4) data sheet, 4.2.3.
using System.Numerics;
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>One 8259A: eight inputs, priority resolver, and the register file behind two ports. Inputs are numbered 0 to 7.</summary>
/// <param name="cascadeInput">The input that a slave's output is wired to; -1 for none. It is never latched, since the slave drops its output only when served.</param>
/// <param name="elcrMask">The inputs whose trigger mode software may choose.</param>
internal sealed class Pic8259Chip(int cascadeInput, byte elcrMask) : IStateful, IByteWide
{
    private const byte Icw1 = 0x10, Icw1NeedIcw4 = 0x01, Icw1Single = 0x02, Icw1Level = 0x08;
    private const byte Icw4AutoEoi = 0x02, Icw4SpecialFullyNested = 0x10;
    private const byte Ocw3 = 0x08, Ocw3Poll = 0x04, Ocw3ReadIsr = 0x03, Ocw3ReadIrr = 0x02, Ocw3SetSpecialMask = 0x60, Ocw3ClearSpecialMask = 0x40;
    private const byte PollInterrupt = 0x80;

    private struct State
    {
        public byte Irr, Isr, Imr, Lines, Elcr, VectorBase, Lowest, InitStep;
        public bool NeedIcw4, Single, Level, AutoEoi, RotateOnAutoEoi, SpecialFullyNested, SpecialMask, ReadIsr, Poll;
    }

    // Undefined after power-on by the data sheet; all masked, so that nothing arrives before software has chosen vectors.
    private static State PowerOn => new() { Imr = 0xFF, Lowest = 7 };

    private State _s = PowerOn;

    public void Reset() => _s = PowerOn with { Lines = _s.Lines, Irr = (byte)(_s.Irr & CascadeBit) };

    public byte VectorBase => _s.VectorBase;

    public byte Elcr
    {
        get => _s.Elcr;
        set
        {
            _s.Elcr = (byte)(value & elcrMask);
            FollowLevels();
        }
    }

    private byte CascadeBit => cascadeInput < 0 ? (byte)0 : (byte)(1 << cascadeInput);

    private byte LevelInputs => (byte)((_s.Level ? 0xFF : _s.Elcr) | CascadeBit);

    public void SetLine(int input, bool level)
    {
        var bit = (byte)(1 << input);
        // A latched edge survives the fall of its line: a real 8259A would give a spurious interrupt, and a timer tick would be lost.
        if (level && (_s.Lines & bit) == 0) _s.Irr |= bit;
        _s.Lines = (byte)(level ? _s.Lines | bit : _s.Lines & ~bit);
        FollowLevels();
    }

    /// <summary>The input to be served next, or -1.</summary>
    public int Pending()
    {
        var request = Priority((byte)(_s.Irr & ~_s.Imr));
        if (request == 8) return -1;
        var service = _s.Isr;
        if (_s.SpecialMask) service &= (byte)~_s.Imr;
        if (_s.SpecialFullyNested) service &= (byte)~CascadeBit;
        return request < Priority(service) ? Input(request) : -1;
    }

    /// <summary>An acknowledge cycle for an input that <see cref="Pending"/> named.</summary>
    public void Acknowledge(int input)
    {
        var bit = (byte)(1 << input);
        if (_s.AutoEoi)
        {
            if (_s.RotateOnAutoEoi) _s.Lowest = (byte)input;
        }
        else
        {
            _s.Isr |= bit;
        }

        _s.Irr &= (byte)~bit;
        FollowLevels();
    }

    public byte ReadByte(uint offset)
    {
        if (_s.Poll)
        {
            _s.Poll = false;
            var input = Pending();
            if (input < 0) return 0;
            Acknowledge(input);
            return (byte)(PollInterrupt | input);
        }

        return (offset & 1) != 0 ? _s.Imr : _s.ReadIsr ? _s.Isr : _s.Irr;
    }

    public void WriteByte(uint offset, byte value)
    {
        if ((offset & 1) != 0) WriteData(value);
        else if ((value & Icw1) != 0) Initialise(value);
        else if ((value & Ocw3) != 0) WriteOcw3(value);
        else WriteOcw2(value);
    }

    public void VisitState(StateVisitor v)
    {
        v.Field(1, ref _s.Irr);
        v.Field(2, ref _s.Isr);
        v.Field(3, ref _s.Imr);
        v.Field(4, ref _s.Lines);
        v.Field(5, ref _s.Elcr);
        v.Field(6, ref _s.VectorBase);
        v.Field(7, ref _s.Lowest);
        v.Field(8, ref _s.InitStep);
        v.Field(9, ref _s.NeedIcw4);
        v.Field(10, ref _s.Single);
        v.Field(11, ref _s.Level);
        v.Field(12, ref _s.AutoEoi);
        v.Field(13, ref _s.RotateOnAutoEoi);
        v.Field(14, ref _s.SpecialFullyNested);
        v.Field(15, ref _s.SpecialMask);
        v.Field(16, ref _s.ReadIsr);
        v.Field(17, ref _s.Poll);
    }

    public void OnStateLoaded()
    {
        _s.Lowest &= 7;
        _s.Elcr &= elcrMask;
        _s.VectorBase &= 0xF8;
    }

    private void Initialise(byte icw1)
    {
        var (lines, elcr) = (_s.Lines, _s.Elcr);
        _s = new State
        {
            Lines = lines, Elcr = elcr, Lowest = 7, InitStep = 2,
            NeedIcw4 = (icw1 & Icw1NeedIcw4) != 0, Single = (icw1 & Icw1Single) != 0, Level = (icw1 & Icw1Level) != 0,
        };
        FollowLevels();
    }

    private void WriteData(byte value)
    {
        switch (_s.InitStep)
        {
            case 2:
                _s.VectorBase = (byte)(value & 0xF8);
                _s.InitStep = (byte)(!_s.Single ? 3 : _s.NeedIcw4 ? 4 : 0);
                break;
            case 3: // ICW3: the cascade is wired on the board
                _s.InitStep = (byte)(_s.NeedIcw4 ? 4 : 0);
                break;
            case 4:
                _s.AutoEoi = (value & Icw4AutoEoi) != 0;
                _s.SpecialFullyNested = (value & Icw4SpecialFullyNested) != 0;
                _s.InitStep = 0;
                break;
            default:
                _s.Imr = value;
                break;
        }
    }

    private void WriteOcw3(byte value)
    {
        if ((value & Ocw3SetSpecialMask) == Ocw3SetSpecialMask) _s.SpecialMask = true;
        else if ((value & Ocw3SetSpecialMask) == Ocw3ClearSpecialMask) _s.SpecialMask = false;
        if ((value & Ocw3Poll) != 0) _s.Poll = true;
        else if ((value & Ocw3ReadIsr) == Ocw3ReadIsr) _s.ReadIsr = true;
        else if ((value & Ocw3ReadIsr) == Ocw3ReadIrr) _s.ReadIsr = false;
    }

    private void WriteOcw2(byte value)
    {
        var input = value & 7;
        switch (value >> 5)
        {
            case 0: _s.RotateOnAutoEoi = false; break;
            case 4: _s.RotateOnAutoEoi = true; break;
            case 1 or 5:
                var priority = Priority(_s.SpecialMask ? (byte)(_s.Isr & ~_s.Imr) : _s.Isr);
                if (priority < 8) EndService(Input(priority), rotate: value >> 7 != 0);
                break;
            case 3 or 7: EndService(input, rotate: value >> 7 != 0); break;
            case 6: _s.Lowest = (byte)input; break;
        }
    }

    private void EndService(int input, bool rotate)
    {
        _s.Isr &= (byte)~(1 << input);
        if (rotate) _s.Lowest = (byte)input;
    }

    private void FollowLevels()
    {
        var levels = LevelInputs;
        _s.Irr = (byte)((_s.Irr & ~levels) | (_s.Lines & levels));
    }

    // Priorities run from 0 (served first) to 7; 8 is none. The input after the lowest has priority 0.
    private int Priority(byte inputs)
    {
        var shift = (_s.Lowest + 1) & 7;
        var rotated = (byte)((inputs >> shift) | (inputs << (8 - shift)));
        return rotated == 0 ? 8 : BitOperations.TrailingZeroCount(rotated);
    }

    private int Input(int priority) => (priority + _s.Lowest + 1) & 7;
}
