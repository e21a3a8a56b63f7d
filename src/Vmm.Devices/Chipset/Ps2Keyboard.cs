// IBM PS/2 Hardware Interface Technical Reference, "Keyboard": commands from the system; MF2 identification AB 83.
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>The device side of a PS/2 keyboard: it answers commands and sends scan codes of set 2 (or 1 or 3 where told so).</summary>
internal sealed class Ps2Keyboard : IStateful
{
    private const byte Ack = 0xFA, ResendReply = 0xFE, SelfTestPassed = 0xAA, EchoReply = 0xEE;
    private const byte SetLeds = 0xED, Echo = 0xEE, SetScanCodes = 0xF0, Identify = 0xF2, SetTypematic = 0xF3, Enable = 0xF4, Disable = 0xF5, SetDefaults = 0xF6, Resend = 0xFE, ResetCommand = 0xFF;
    private const byte DefaultTypematic = 0x2B;

    private struct State
    {
        public byte Command, ScanCodeSet, Leds, Typematic, LastSent;
        public bool Scanning;
    }

    private static State PowerOn => new() { ScanCodeSet = 2, Scanning = true, Typematic = DefaultTypematic };

    private State _s = PowerOn;

    public Ps2Queue Output { get; } = new();

    public byte Leds => _s.Leds;

    public void Reset()
    {
        _s = PowerOn;
        Output.Clear();
    }

    /// <summary>Keys from the host, in scan code set 2. They are dropped whole where the buffer is full or the guest has disabled scanning.</summary>
    public bool TrySend(ReadOnlySpan<byte> codes) => _s.Scanning && Output.TryAdd(codes);

    public bool TryTake(out byte value)
    {
        if (!Output.TryTake(out value)) return false;
        _s.LastSent = value;
        return true;
    }

    public void Write(byte value)
    {
        if (_s.Command != 0 && value < 0xED) TakeParameter(value);
        else StartCommand(value);
    }

    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Command);
        visitor.Field(2, ref _s.ScanCodeSet);
        visitor.Field(3, ref _s.Leds);
        visitor.Field(4, ref _s.Typematic);
        visitor.Field(5, ref _s.LastSent);
        visitor.Field(6, ref _s.Scanning);
        visitor.Part(7, Output);
    }

    private void TakeParameter(byte value)
    {
        var command = _s.Command;
        _s.Command = 0;
        switch (command)
        {
            case SetLeds: _s.Leds = (byte)(value & 7); break;
            case SetTypematic: _s.Typematic = value; break;
            case SetScanCodes when value == 0:
                Output.TryAdd([Ack, _s.ScanCodeSet]);
                return;
            case SetScanCodes when value <= 3: _s.ScanCodeSet = value; break;
            default:
                Output.TryAdd([ResendReply]);
                return;
        }

        Output.TryAdd([Ack]);
    }

    private void StartCommand(byte value)
    {
        _s.Command = 0;
        switch (value)
        {
            case SetLeds or SetScanCodes or SetTypematic:
                _s.Command = value;
                break;
            case Echo:
                Output.TryAdd([EchoReply]);
                return;
            case Identify:
                Output.TryAdd([Ack, 0xAB, 0x83]);
                return;
            case Enable:
                Output.Clear();
                _s.Scanning = true;
                break;
            case Disable or SetDefaults:
                var leds = _s.Leds;
                _s = PowerOn with { Leds = leds, Scanning = value == SetDefaults };
                Output.Clear();
                break;
            case >= 0xF7 and <= 0xFD: // make/break and typematic of scan code set 3: acknowledged, keys are sent as they come
                break;
            case Resend:
                Output.TryAdd([_s.LastSent]);
                return;
            case ResetCommand:
                Reset();
                Output.TryAdd([Ack, SelfTestPassed]);
                return;
            default:
                Output.TryAdd([ResendReply]);
                return;
        }

        Output.TryAdd([Ack]);
    }
}
