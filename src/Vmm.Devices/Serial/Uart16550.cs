// National Semiconductor PC16550D data sheet (DS008652), section 8 "Registers".
using System.IO.Pipelines;
using Microsoft.Extensions.Logging;
using Vmm.Core.Boards;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;
using Vmm.Core.Time;
using Vmm.Devices.Chipset;

namespace Vmm.Devices.Serial;

/// <summary>
/// A 16550A serial port whose other end is a pipe. Bytes travel in no time; only the receiver's time-out follows the line's speed. The
/// interrupt is the chip's INTR pin: MCR OUT2, by which PCs gate it, is not needed, since guests that know only emulators leave it
/// clear. Eight registers of a byte each.
/// <para>Output: 64 KiB, and what the pipe holds, may wait for a slow reader. After that the transmitter stays full
/// (THRE is 0) until the reader has read; a guest that writes all the same loses the byte, as on the wire, and
/// <see cref="DroppedOutput"/> counts it. The vCPU is never blocked. When the reader has gone, output is thrown away.</para>
/// <para>Input: waits in the pipe, and up to 4 KiB in the port, until the guest's driver has enabled the receive interrupt or
/// polls the line status, so that what is typed while a kernel boots is not lost to its driver's reset of the FIFOs.</para>
/// </summary>
public sealed partial class Uart16550 : IDevice, IIoHandler, IByteWide, IDisposable
{
    /// <summary>The number of ports.</summary>
    public const uint WindowLength = 8;

    private const uint DataRegister = 0, InterruptEnable = 1, InterruptIdentification = 2, LineControl = 3, ModemControl = 4, LineStatus = 5, ModemStatus = 6, Scratch = 7;
    private const byte EnableReceived = 0x01, EnableTransmitter = 0x02, EnableLineStatus = 0x04, EnableModemStatus = 0x08;
    private const byte NoInterrupt = 0x01, ModemInterrupt = 0x00, TransmitterInterrupt = 0x02, ReceivedInterrupt = 0x04, LineInterrupt = 0x06, TimeoutInterrupt = 0x0C, FifosEnabled = 0xC0;
    private const byte FifoEnable = 0x01, FifoResetReceiver = 0x02, FifoResetTransmitter = 0x04, FifoKept = 0xC9;
    private const byte DataReady = 0x01, Overrun = 0x02, FramingError = 0x08, Break = 0x10, ErrorBits = 0x1E, TransmitterReady = 0x20, TransmitterIdle = 0x40, FifoError = 0x80;
    private const byte DivisorAccess = 0x80, SetBreak = 0x40, ParityEnable = 0x08, StopBits = 0x04;
    private const byte Dtr = 0x01, Rts = 0x02, Out1 = 0x04, Out2 = 0x08, Loop = 0x10, ModemControlBits = 0x1F;
    private const byte Cts = 0x10, Dsr = 0x20, RingIndicator = 0x40, CarrierDetect = 0x80, Connected = Cts | Dsr | CarrierDetect, TrailingRing = 0x04;
    private const long CrystalSixteenth = 1_843_200 / 16;

    // So many reads of the line status in a row are a guest that waits for input.
    private const int PollingReads = 16;

    private struct State
    {
        public long Timeout;
        public int PendingFirst, PendingCount, StatusReads;
        public ushort Divisor;
        public byte Ier, Fcr, Lcr, Mcr, LineErrors, Msr, Scratch;
        public bool TransmitterEmptied, TimedOut, Spoke;
    }

    private static State PowerOn => new() { Divisor = 1, Msr = Connected, TransmitterEmptied = false, Timeout = long.MaxValue };

    private readonly UartFifo _receive = new();
    private readonly UartFifo _transmit = new();
    private readonly ushort[] _pending = new ushort[SerialInput.Capacity];
    private readonly VmClock _clock;
    private readonly InterruptLine _irq;
    private readonly VmTimer _timer;
    private SerialOutput? _output;
    private SerialInput? _input;
    private ILogger? _logger;
    private State _s = PowerOn;
    private int _pendingKnown;
    private long _dropped;

    /// <summary>Makes a port with nothing plugged in: output is thrown away.</summary>
    /// <param name="clock">The machine's clock.</param>
    /// <param name="irq">Its interrupt (IRQ 4 for COM1).</param>
    public Uart16550(VmClock clock, InterruptLine irq)
    {
        (_clock, _irq) = (clock, irq);
        _timer = clock.CreateTimer(this, OnTimeout);
    }

    /// <summary>Raised when the guest sends the first byte after power-on, on the vCPU's thread under the device's lock: be brief.</summary>
    public event Action? FirstOutput;

    /// <summary>Bytes the guest has lost by writing to a full transmitter, or by speaking when the reader had gone.</summary>
    public long DroppedOutput => Volatile.Read(ref _dropped) + (_output?.Undelivered ?? 0);

    /// <inheritdoc/>
    public void Reset()
    {
        _receive.Clear();
        _transmit.Clear();
        var (first, count) = (_s.PendingFirst, _s.PendingCount);
        _s = PowerOn with { PendingFirst = first, PendingCount = count };
        Update();
    }

    /// <inheritdoc/>
    public ulong Read(uint offset, int size) => ByteWide.Read(this, offset, size);

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value) => ByteWide.Write(this, offset, size, value);

    /// <summary>Plugs a pipe in. The port completes both its directions when it is disposed. Once only, before the guest runs.</summary>
    /// <param name="machine">The machine that the port is in.</param>
    /// <param name="host">What the guest reads comes from its input, what it writes goes to its output.</param>
    /// <exception cref="InvalidOperationException">Something is plugged in already.</exception>
    public void Connect(MachineContext machine, IDuplexPipe host)
    {
        ArgumentNullException.ThrowIfNull(machine);
        ArgumentNullException.ThrowIfNull(host);
        if (_output is not null) throw new InvalidOperationException("This serial port has a pipe already; give each port one of its own.");
        _logger = machine.LoggerFactory.CreateLogger<Uart16550>();
        var room = machine.CreateInlet<bool>(this, _ => Drain());
        _output = new SerialOutput(host.Output, () => room.Post(true));
        _input = new SerialInput(host.Input, machine.CreateInlet<byte[]>(this, bytes => Deliver(bytes)).Post);
        _input.Start();
    }

    /// <summary>Host side, from an inlet: bytes for the guest.</summary>
    /// <param name="bytes">The bytes, in order.</param>
    /// <returns>How many were taken; fewer than all when 4 KiB wait for a guest that does not read.</returns>
    public int Receive(ReadOnlySpan<byte> bytes)
    {
        lock (this)
        {
            var taken = Queue(bytes, errors: 0);
            _input?.Occupy(taken);
            return taken;
        }
    }

    /// <summary>Host side, from an inlet: a break condition on the line (Linux's magic SysRq).</summary>
    public void ReceiveBreak()
    {
        lock (this)
        {
            var taken = Queue([0], Break | FramingError);
            _input?.Occupy(taken);
        }
    }

    /// <summary>Unplugs the pipe: what the guest has written is still delivered, then the pipe is completed.</summary>
    public void Dispose()
    {
        _output?.Close();
        _input?.Stop();
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Ier);
        visitor.Field(2, ref _s.Fcr);
        visitor.Field(3, ref _s.Lcr);
        visitor.Field(4, ref _s.Mcr);
        visitor.Field(5, ref _s.LineErrors);
        visitor.Field(6, ref _s.Msr);
        visitor.Field(7, ref _s.Scratch);
        visitor.Field(8, ref _s.Divisor);
        visitor.Field(9, ref _s.TransmitterEmptied);
        visitor.Field(10, ref _s.TimedOut);
        visitor.Field(11, ref _s.Timeout);
        visitor.Field(12, ref _s.Spoke);
        visitor.Field(13, ref _s.StatusReads);
        visitor.Field(14, ref _s.PendingFirst);
        visitor.Field(15, ref _s.PendingCount);
        visitor.Array(16, _pending.AsSpan());
        visitor.Part(17, _receive);
        visitor.Part(18, _transmit);
    }

    /// <inheritdoc/>
    public void OnStateLoaded()
    {
        _s.PendingFirst &= SerialInput.Capacity - 1;
        _s.PendingCount = Math.Clamp(_s.PendingCount, 0, SerialInput.Capacity);
        _input?.Occupy(_s.PendingCount - _pendingKnown);
        _pendingKnown = _s.PendingCount;
        Update();
    }

    byte IByteWide.ReadByte(uint offset)
    {
        if (offset is not (DataRegister or LineStatus)) _s.StatusReads = 0;
        var latch = (_s.Lcr & DivisorAccess) != 0;
        switch (offset)
        {
            case DataRegister: return latch ? (byte)_s.Divisor : TakeReceived();
            case InterruptEnable: return latch ? (byte)(_s.Divisor >> 8) : _s.Ier;
            case InterruptIdentification: return TakeIdentification();
            case LineControl: return _s.Lcr;
            case ModemControl: return _s.Mcr;
            case LineStatus: return TakeLineStatus();
            case ModemStatus: return TakeModemStatus();
            default: return _s.Scratch;
        }
    }

    void IByteWide.WriteByte(uint offset, byte value)
    {
        _s.StatusReads = 0;
        var latch = (_s.Lcr & DivisorAccess) != 0;
        switch (offset)
        {
            case DataRegister when latch: _s.Divisor = (ushort)(_s.Divisor & 0xFF00 | value); break;
            case DataRegister: Transmit(value); break;
            case InterruptEnable when latch: _s.Divisor = (ushort)(_s.Divisor & 0x00FF | value << 8); break;
            case InterruptEnable: SetInterruptEnable(value); break;
            case InterruptIdentification: SetFifoControl(value); break;
            case LineControl: SetLineControl(value); break;
            case ModemControl:
                _s.Mcr = (byte)(value & ModemControlBits);
                UpdateModem();
                break;
            case Scratch: _s.Scratch = value; break;
        }

        Update();
    }

    private bool HasFifos => (_s.Fcr & FifoEnable) != 0;

    private bool IsLoop => (_s.Mcr & Loop) != 0;

    private int ReceiveCapacity => HasFifos ? UartFifo.Capacity : 1;

    private int TriggerLevel => !HasFifos ? 1 : (_s.Fcr >> 6) switch { 0 => 1, 1 => 4, 2 => 8, _ => 14 };

    // Four character times, in nanoseconds. A divisor of zero stops a real chip's clock; here it is the fastest.
    private long TimeoutNanoseconds
    {
        get
        {
            var bits = 1 + 5 + (_s.Lcr & 3) + ((_s.Lcr & ParityEnable) != 0 ? 1 : 0) + ((_s.Lcr & StopBits) != 0 ? 2 : 1);
            return 4L * bits * Math.Max(_s.Divisor, (ushort)1) * 1_000_000_000 / CrystalSixteenth;
        }
    }

    private byte TakeReceived()
    {
        var value = _receive.Take();
        _s.TimedOut = false;
        RestartTimeout();
        Update();
        return value;
    }

    private byte TakeIdentification()
    {
        var cause = Cause;
        if (cause == TransmitterInterrupt)
        {
            _s.TransmitterEmptied = false;
            Update();
        }

        return (byte)(cause | (HasFifos ? FifosEnabled : 0));
    }

    private byte TakeLineStatus()
    {
        if (_s.StatusReads < PollingReads) _s.StatusReads++;
        FillReceiver();
        var status = (byte)(LineErrors | (_receive.Count > 0 ? DataReady : 0) | (_transmit.Count == 0 ? TransmitterReady | TransmitterIdle : 0) | (HasFifos && _receive.HasErrors ? FifoError : 0));
        _s.LineErrors = 0;
        _receive.ClearFirstErrors();
        Update();
        return status;
    }

    private byte TakeModemStatus()
    {
        var status = _s.Msr;
        _s.Msr &= 0xF0;
        Update();
        return status;
    }

    private byte LineErrors => (byte)((_s.LineErrors | _receive.FirstErrors) & ErrorBits);

    private byte Cause
    {
        get
        {
            if ((_s.Ier & EnableLineStatus) != 0 && LineErrors != 0) return LineInterrupt;
            if ((_s.Ier & EnableReceived) != 0)
            {
                if (_receive.Count >= TriggerLevel) return ReceivedInterrupt;
                if (_s.TimedOut) return TimeoutInterrupt;
            }

            if ((_s.Ier & EnableTransmitter) != 0 && _s.TransmitterEmptied) return TransmitterInterrupt;
            return (_s.Ier & EnableModemStatus) != 0 && (_s.Msr & 0x0F) != 0 ? ModemInterrupt : NoInterrupt;
        }
    }

    private void SetInterruptEnable(byte value)
    {
        var enabled = (byte)(value & ~_s.Ier);
        _s.Ier = (byte)(value & 0x0F);
        if ((enabled & EnableTransmitter) != 0 && _transmit.Count == 0) _s.TransmitterEmptied = true;
    }

    private void SetFifoControl(byte value)
    {
        var toggles = ((value ^ _s.Fcr) & FifoEnable) != 0;
        if (toggles || (value & (FifoEnable | FifoResetReceiver)) == (FifoEnable | FifoResetReceiver))
        {
            _receive.Clear();
            (_s.TimedOut, _s.LineErrors) = (false, 0);
        }

        if ((toggles || (value & (FifoEnable | FifoResetTransmitter)) == (FifoEnable | FifoResetTransmitter)) && _transmit.Count > 0)
        {
            _transmit.Clear();
            _s.TransmitterEmptied = true;
        }

        // The other bits are only taken with the enable bit.
        _s.Fcr = (value & FifoEnable) != 0 ? (byte)(value & FifoKept) : (byte)0;
        RestartTimeout();
    }

    private void SetLineControl(byte value)
    {
        var breaks = (value & ~_s.Lcr & SetBreak) != 0;
        _s.Lcr = value;
        if (breaks && IsLoop) Arrive(0, Break | FramingError);
    }

    private void Transmit(byte value)
    {
        // The interrupt ends with the write and comes back when the byte has gone: an edge for edge-triggered controllers.
        _s.TransmitterEmptied = false;
        Update();
        if (IsLoop)
        {
            Arrive(value, 0);
            _s.TransmitterEmptied = _transmit.Count == 0;
            return;
        }

        if (!_s.Spoke)
        {
            _s.Spoke = true;
            FirstOutput?.Invoke();
        }

        if (_transmit.Count == 0 && (_output is null || _output.TrySend(value))) _s.TransmitterEmptied = true;
        else if (_transmit.Count < ReceiveCapacity) _transmit.Add(value);
        else DropSlow();
    }

    private void DropSlow()
    {
        if (Interlocked.Increment(ref _dropped) == 1 && _logger is not null) LogDropped(_logger);
    }

    // The reader has made room.
    private void Drain()
    {
        if (_transmit.Count == 0 || _output is null) return;
        while (_transmit.Count > 0 && _output.TrySend(_transmit.Peek())) _transmit.Take();
        if (_transmit.Count == 0) _s.TransmitterEmptied = true;
        Update();
    }

    private void Deliver(byte[] bytes)
    {
        var taken = Queue(bytes, errors: 0);
        if (taken < bytes.Length) _input?.Occupy(taken - bytes.Length);
    }

    private int Queue(ReadOnlySpan<byte> bytes, byte errors)
    {
        var count = Math.Min(bytes.Length, SerialInput.Capacity - _s.PendingCount);
        foreach (var value in bytes[..count]) _pending[(_s.PendingFirst + _s.PendingCount++) % SerialInput.Capacity] = (ushort)(errors << 8 | value);
        if (_input is not null) _pendingKnown += count;
        Update();
        return count;
    }

    private void FillReceiver()
    {
        if (_s.PendingCount == 0 || IsLoop || ((_s.Ier & EnableReceived) == 0 && _s.StatusReads < PollingReads)) return;
        var before = _s.PendingCount;
        while (_s.PendingCount > 0 && _receive.Count < ReceiveCapacity)
        {
            var entry = _pending[_s.PendingFirst];
            _receive.Add((byte)entry, (byte)(entry >> 8));
            _s.PendingFirst = (_s.PendingFirst + 1) % SerialInput.Capacity;
            _s.PendingCount--;
        }

        if (before == _s.PendingCount) return;
        RestartTimeout();
        if (_input is null) return;
        _pendingKnown -= before - _s.PendingCount;
        _input.Occupy(_s.PendingCount - before);
    }

    // From the loop: without room the byte in the shift register, or the one in the buffer, is overrun.
    private void Arrive(byte value, byte errors)
    {
        if (_receive.Count < ReceiveCapacity)
        {
            _receive.Add(value, errors);
        }
        else
        {
            _s.LineErrors |= Overrun;
            if (HasFifos) return;
            _receive.Clear();
            _receive.Add(value, errors);
        }

        RestartTimeout();
    }

    private void RestartTimeout() => _s.Timeout = HasFifos && _receive.Count > 0 ? _clock.Now + TimeoutNanoseconds : long.MaxValue;

    private void OnTimeout()
    {
        _s.TimedOut = _receive.Count > 0;
        _s.Timeout = long.MaxValue;
        Update();
    }

    private void UpdateModem()
    {
        var level = Connected;
        if (IsLoop) level = (byte)(((_s.Mcr & Rts) != 0 ? Cts : 0) | ((_s.Mcr & Dtr) != 0 ? Dsr : 0) | ((_s.Mcr & Out1) != 0 ? RingIndicator : 0) | ((_s.Mcr & Out2) != 0 ? CarrierDetect : 0));
        var changed = (byte)((_s.Msr ^ level) & 0xF0);
        var delta = (byte)(changed >> 4 & ~TrailingRing);
        if ((changed & RingIndicator) != 0 && (level & RingIndicator) == 0) delta |= TrailingRing;
        _s.Msr = (byte)(level | _s.Msr & 0x0F | delta);
    }

    private void Update()
    {
        FillReceiver();
        _irq.Level = Cause != NoInterrupt;
        if (_s.Timeout == long.MaxValue || (_s.Ier & EnableReceived) == 0) _timer.Disarm();
        else _timer.Arm(_s.Timeout);
    }

    [LoggerMessage(LogLevel.Warning, "A serial port loses output: nobody reads it. It has 64 KiB of patience; read the pipe, or give the port none.")]
    private static partial void LogDropped(ILogger logger);
}
