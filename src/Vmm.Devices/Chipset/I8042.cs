// IBM PS/2 Hardware Interface Technical Reference, "Keyboard/Auxiliary Device Controller"; Intel 8242 data sheet.
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>
/// The keyboard controller: a keyboard, a mouse if wanted, the reset line, and the A20 output, which is stored without effect as in
/// <see cref="SystemControlPort"/>. It has two ports that do not adjoin: <see cref="DataPort"/> and <see cref="CommandPort"/>.
/// </summary>
public sealed class I8042 : IDevice
{
    private const byte OutputFull = 0x01, LastWasCommand = 0x08, KeyboardUnlocked = 0x10, AuxOutputFull = 0x20;
    private const byte KeyboardInterrupt = 0x01, AuxInterrupt = 0x02, SystemBit = 0x04, KeyboardDisabled = 0x10, AuxDisabled = 0x20, Translate = 0x40;
    private const byte OutputNotReset = 0x01, OutputA20 = 0x02, OutputKeyboardFull = 0x10, OutputAuxFull = 0x20;
    private const byte SelfTestPassed = 0x55, PortTestPassed = 0x00, PortTestClockLow = 0x01, BreakPrefix = 0xF0, InputPortIdle = 0xB0;
    private const byte NoSource = 0, FromKeyboard = 1, FromAux = 2;

    private const byte ReadRam = 0x20, ReadRamLast = 0x3F, WriteRam = 0x60, WriteRamLast = 0x7F, DisableAux = 0xA7, EnableAux = 0xA8, TestAux = 0xA9, SelfTest = 0xAA, TestKeyboard = 0xAB,
        DisableKeyboard = 0xAD, EnableKeyboard = 0xAE, ReadInputPort = 0xC0, ReadOutputPort = 0xD0, WriteOutputPort = 0xD1, WriteKeyboardOutput = 0xD2, WriteAuxOutput = 0xD3,
        WriteAux = 0xD4, A20Off = 0xDD, A20On = 0xDF, ReadTestInputs = 0xE0, PulseOutput = 0xF0;

    private struct State
    {
        public byte Output, Source, Command, OutputPort;
        public bool AfterCommand, AfterBreak;
    }

    private static State PowerOn => new() { OutputPort = OutputNotReset | OutputA20 };

    private readonly byte[] _ram = new byte[32];
    private readonly Ps2Keyboard _keyboard = new();
    private readonly Ps2Mouse? _mouse;
    private readonly InterruptLine _keyboardIrq;
    private readonly InterruptLine _auxIrq;
    private readonly Action _reset;
    private State _s = PowerOn;

    /// <summary>Makes the controller.</summary>
    /// <param name="keyboardIrq">The keyboard's interrupt (IRQ 1 on a PC).</param>
    /// <param name="auxIrq">The mouse's interrupt (IRQ 12 on a PC); null for a controller without a mouse port.</param>
    /// <param name="reset">Ends the machine with a reset.</param>
    public I8042(InterruptLine keyboardIrq, InterruptLine? auxIrq, Action reset)
    {
        (_keyboardIrq, _auxIrq, _reset) = (keyboardIrq, auxIrq ?? InterruptLine.Unconnected, reset);
        _mouse = auxIrq is null ? null : new Ps2Mouse();
        DataPort = new Port(this, isCommand: false);
        CommandPort = new Port(this, isCommand: true);
        _ram[0] = PowerOnCommandByte;
    }

    /// <summary>The data port (0x60 on a PC). Map it with this device as the gate.</summary>
    public IIoHandler DataPort { get; }

    /// <summary>The command and status port (0x64 on a PC). Map it with this device as the gate.</summary>
    public IIoHandler CommandPort { get; }

    /// <summary>The keyboard's lamps: scroll lock in bit 0, number lock in bit 1, capitals lock in bit 2.</summary>
    public byte Leds
    {
        get
        {
            lock (this) return _keyboard.Leds;
        }
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _s = PowerOn;
        Array.Clear(_ram);
        _ram[0] = PowerOnCommandByte;
        _keyboard.Reset();
        _mouse?.Reset();
        Update();
    }

    /// <summary>Host side, from an inlet: keys in scan code set 2. Dropped whole where the keyboard's buffer is full or the guest has switched it off.</summary>
    /// <param name="codes">Whole scan codes, at most 32 bytes.</param>
    /// <returns>Whether the keyboard took them.</returns>
    public bool SendKeys(ReadOnlySpan<byte> codes)
    {
        lock (this)
        {
            var taken = _keyboard.TrySend(codes);
            Update();
            return taken;
        }
    }

    /// <summary>Host side, from an inlet: movement of the mouse. Nothing happens on a controller without one.</summary>
    /// <param name="right">Counts to the right.</param>
    /// <param name="up">Counts upwards.</param>
    /// <param name="buttons">Left in bit 0, right in bit 1, middle in bit 2.</param>
    public void MoveMouse(int right, int up, byte buttons)
    {
        lock (this)
        {
            _mouse?.Move(right, up, buttons);
            Update();
        }
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Output);
        visitor.Field(2, ref _s.Source);
        visitor.Field(3, ref _s.Command);
        visitor.Field(4, ref _s.OutputPort);
        visitor.Field(5, ref _s.AfterCommand);
        visitor.Field(6, ref _s.AfterBreak);
        visitor.Array(7, _ram.AsSpan());
        visitor.Part(8, _keyboard);
        if (_mouse is not null) visitor.Part(9, _mouse);
    }

    /// <inheritdoc/>
    public void OnStateLoaded()
    {
        if (_s.Source > FromAux) _s.Source = NoSource;
        UpdateLines();
    }

    private byte PowerOnCommandByte => (byte)(KeyboardInterrupt | SystemBit | Translate | (_mouse is null ? AuxDisabled : AuxInterrupt));

    private byte Status =>
        (byte)(KeyboardUnlocked | (_ram[0] & SystemBit) | (_s.Source != NoSource ? OutputFull : 0) | (_s.Source == FromAux ? AuxOutputFull : 0) | (_s.AfterCommand ? LastWasCommand : 0));

    private byte ReadData()
    {
        var value = _s.Output;
        _s.Source = NoSource;
        UpdateLines(); // falls between two bytes, so that each makes an edge
        Update();
        return value;
    }

    private void WriteData(byte value)
    {
        _s.AfterCommand = false;
        var command = _s.Command;
        _s.Command = 0;
        switch (command)
        {
            case >= WriteRam and <= WriteRamLast:
                _ram[command - WriteRam] = value;
                if (command == WriteRam && _mouse is null) _ram[0] |= AuxDisabled;
                break;
            case WriteOutputPort: SetOutputPort(value); break;
            case WriteKeyboardOutput: Put(value, FromKeyboard); break;
            case WriteAuxOutput when _mouse is not null: Put(value, FromAux); break;
            case WriteAux:
                if (_mouse is null) break;
                _ram[0] &= unchecked((byte)~AuxDisabled);
                _mouse.Write(value);
                break;
            case WriteAuxOutput: break;
            default:
                _ram[0] &= unchecked((byte)~KeyboardDisabled);
                _keyboard.Write(value);
                break;
        }

        Update();
    }

    private void WriteCommand(byte value)
    {
        _s.AfterCommand = true;
        _s.Command = 0;
        switch (value)
        {
            case >= ReadRam and <= ReadRamLast: Put(_ram[value - ReadRam], FromKeyboard); break;
            case (>= WriteRam and <= WriteRamLast) or WriteOutputPort or WriteKeyboardOutput or WriteAuxOutput or WriteAux: _s.Command = value; break;
            case DisableAux: _ram[0] |= AuxDisabled; break;
            case EnableAux when _mouse is not null: _ram[0] &= unchecked((byte)~AuxDisabled); break;
            case TestAux: Put(_mouse is null ? PortTestClockLow : PortTestPassed, FromKeyboard); break;
            case SelfTest:
                _ram[0] |= SystemBit;
                Put(SelfTestPassed, FromKeyboard);
                break;
            case TestKeyboard: Put(PortTestPassed, FromKeyboard); break;
            case DisableKeyboard: _ram[0] |= KeyboardDisabled; break;
            case EnableKeyboard: _ram[0] &= unchecked((byte)~KeyboardDisabled); break;
            case ReadInputPort: Put(InputPortIdle, FromKeyboard); break;
            case ReadOutputPort:
                Put((byte)(_s.OutputPort | (_s.Source == FromKeyboard ? OutputKeyboardFull : 0) | (_s.Source == FromAux ? OutputAuxFull : 0)), FromKeyboard);
                break;
            case A20Off: _s.OutputPort &= unchecked((byte)~OutputA20); break;
            case A20On: _s.OutputPort |= OutputA20; break;
            case ReadTestInputs: Put(0, FromKeyboard); break;
            case >= PulseOutput when (value & OutputNotReset) == 0: _reset(); break;
        }

        Update();
    }

    private void SetOutputPort(byte value)
    {
        _s.OutputPort = (byte)(value & (OutputNotReset | OutputA20));
        if ((value & OutputNotReset) == 0) _reset();
    }

    // The controller's own answers overwrite what the guest has not read.
    private void Put(byte value, byte source) => (_s.Output, _s.Source) = (value, source);

    private void Update()
    {
        if (_s.Source == NoSource && (_ram[0] & KeyboardDisabled) == 0) TakeKey();
        if (_s.Source == NoSource && (_ram[0] & AuxDisabled) == 0 && _mouse is not null && _mouse.TryTake(out var moved)) Put(moved, FromAux);
        UpdateLines();
    }

    private void TakeKey()
    {
        while (_keyboard.TryTake(out var code))
        {
            if ((_ram[0] & Translate) == 0)
            {
                Put(code, FromKeyboard);
                return;
            }

            if (code == BreakPrefix)
            {
                _s.AfterBreak = true;
                continue;
            }

            var translated = code < ScanCodes.Set2ToSet1.Length ? ScanCodes.Set2ToSet1[code] : code;
            Put((byte)(translated | (_s.AfterBreak ? 0x80 : 0)), FromKeyboard);
            _s.AfterBreak = false;
            return;
        }
    }

    private void UpdateLines()
    {
        _keyboardIrq.Level = _s.Source == FromKeyboard && (_ram[0] & KeyboardInterrupt) != 0;
        _auxIrq.Level = _s.Source == FromAux && (_ram[0] & AuxInterrupt) != 0;
    }

    private sealed class Port(I8042 controller, bool isCommand) : IIoHandler
    {
        public ulong Read(uint offset, int size) => isCommand ? controller.Status : controller.ReadData();

        public void Write(uint offset, int size, ulong value)
        {
            if (isCommand) controller.WriteCommand((byte)value);
            else controller.WriteData((byte)value);
        }

        public override string ToString() => nameof(I8042);
    }
}
