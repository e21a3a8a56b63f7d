// IBM PS/2 Hardware Interface Technical Reference, "Auxiliary Device": commands and the three-byte data packet.
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>The device side of a PS/2 mouse.</summary>
internal sealed class Ps2Mouse : IStateful
{
    private const byte Ack = 0xFA, ErrorReply = 0xFC, ResendReply = 0xFE, SelfTestPassed = 0xAA, StandardId = 0x00;
    private const byte Scale11 = 0xE6, Scale21 = 0xE7, SetResolution = 0xE8, GetStatus = 0xE9, StreamMode = 0xEA, ReadData = 0xEB, EndWrap = 0xEC, Wrap = 0xEE, RemoteMode = 0xF0;
    private const byte Identify = 0xF2, SetRate = 0xF3, Enable = 0xF4, Disable = 0xF5, SetDefaults = 0xF6, Resend = 0xFE, ResetCommand = 0xFF;
    private const byte PacketAlways = 0x08, NegativeX = 0x10, NegativeY = 0x20;
    private const int Farthest = 255;

    private struct State
    {
        public int X, Y;
        public byte Command, Resolution, Rate, Buttons, LastSent;
        public bool Reporting, Wrapping, Remote, Doubled;
    }

    private static State PowerOn => new() { Resolution = 2, Rate = 100 };

    private State _s = PowerOn;

    public Ps2Queue Output { get; } = new();

    public void Reset()
    {
        _s = PowerOn;
        Output.Clear();
    }

    /// <summary>Movement from the host, in counts, right and up positive. What does not fit into packets is kept for the next.</summary>
    public void Move(int right, int up, byte buttons)
    {
        _s.X = Math.Clamp(_s.X + Math.Clamp(right, -Farthest, Farthest), -Farthest, Farthest);
        _s.Y = Math.Clamp(_s.Y + Math.Clamp(up, -Farthest, Farthest), -Farthest, Farthest);
        _s.Buttons = (byte)(buttons & 7);
        if (_s.Reporting && !_s.Remote && !_s.Wrapping) SendPacket([]);
    }

    public bool TryTake(out byte value)
    {
        if (!Output.TryTake(out value)) return false;
        _s.LastSent = value;
        return true;
    }

    public void Write(byte value)
    {
        if (_s.Wrapping && value is not (ResetCommand or EndWrap))
        {
            Output.TryAdd([value]);
            return;
        }

        var command = _s.Command;
        _s.Command = 0;
        if (command == SetRate) SetParameter(ref _s.Rate, value, value is 10 or 20 or 40 or 60 or 80 or 100 or 200);
        else if (command == SetResolution) SetParameter(ref _s.Resolution, value, value <= 3);
        else StartCommand(value);
    }

    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.X);
        visitor.Field(2, ref _s.Y);
        visitor.Field(3, ref _s.Command);
        visitor.Field(4, ref _s.Resolution);
        visitor.Field(5, ref _s.Rate);
        visitor.Field(6, ref _s.Buttons);
        visitor.Field(7, ref _s.LastSent);
        visitor.Field(8, ref _s.Reporting);
        visitor.Field(9, ref _s.Wrapping);
        visitor.Field(10, ref _s.Remote);
        visitor.Field(11, ref _s.Doubled);
        visitor.Part(12, Output);
    }

    public void OnStateLoaded()
    {
        _s.X = Math.Clamp(_s.X, -Farthest, Farthest);
        _s.Y = Math.Clamp(_s.Y, -Farthest, Farthest);
    }

    private void SetParameter(ref byte field, byte value, bool valid)
    {
        if (valid) field = value;
        Output.TryAdd([valid ? Ack : ErrorReply]);
    }

    private void StartCommand(byte value)
    {
        switch (value)
        {
            case Scale11 or Scale21: _s.Doubled = value == Scale21; break;
            case SetResolution or SetRate: _s.Command = value; break;
            case GetStatus:
                var status = (_s.Remote ? 0x40 : 0) | (_s.Reporting ? 0x20 : 0) | (_s.Doubled ? 0x10 : 0) | (_s.Buttons & 1) << 2 | (_s.Buttons & 4) >> 1 | (_s.Buttons & 2) >> 1;
                Output.TryAdd([Ack, (byte)status, _s.Resolution, _s.Rate]);
                return;
            case StreamMode or RemoteMode: _s.Remote = value == RemoteMode; break;
            case ReadData:
                SendPacket([Ack]);
                return;
            case EndWrap or Wrap: _s.Wrapping = value == Wrap; break;
            case Identify:
                Output.TryAdd([Ack, StandardId]);
                return;
            case Enable or Disable: _s.Reporting = value == Enable; break;
            case SetDefaults:
                _s = PowerOn;
                Output.Clear();
                break;
            case Resend:
                Output.TryAdd([_s.LastSent]);
                return;
            case ResetCommand:
                Reset();
                Output.TryAdd([Ack, SelfTestPassed, StandardId]);
                return;
            default:
                Output.TryAdd([ResendReply]);
                return;
        }

        Output.TryAdd([Ack]);
    }

    private void SendPacket(ReadOnlySpan<byte> prefix)
    {
        var flags = PacketAlways | _s.Buttons | (_s.X < 0 ? NegativeX : 0) | (_s.Y < 0 ? NegativeY : 0);
        Span<byte> packet = [.. prefix, (byte)flags, (byte)_s.X, (byte)_s.Y];
        if (Output.TryAdd(packet)) (_s.X, _s.Y) = (0, 0);
    }
}
