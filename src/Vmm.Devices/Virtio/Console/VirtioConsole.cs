// Virtio 1.3, 5.3 "Console Device".
using System.Runtime.InteropServices;
using System.Text;
using Vmm.Core.Boards;
using Vmm.Core.State;
using Vmm.Devices.Virtio.Queues;

namespace Vmm.Devices.Virtio.Console;

/// <summary>
/// Ports between guest and host, each a pair of byte streams, with names and a window size. Between a port and its pipe are at most
/// 4 KiB towards the guest and 64 KiB towards the host; then the sender waits.
/// </summary>
public sealed class VirtioConsole : VirtioDevice<VirtioConsoleConfig>, IDisposable
{
    /// <summary>Its virtio device id.</summary>
    public const ushort Id = 3;

    /// <summary>The most ports.</summary>
    public const int MaximumPorts = 31;

    /// <summary>The most bytes of a port's name.</summary>
    public const int NameBytes = 63;

    private const ulong SizeFeature = 1 << 0, MultiPort = 1 << 1, EmergencyWrite = 1 << 2;
    private const int ControlReceive = 2, ControlTransmit = 3, EmergencyOffset = 8, HeaderLength = 8;

    private readonly ConsolePort[] _ports;
    private readonly VirtioInlet<(int Port, byte[] Bytes)> _arrivals;
    private readonly VirtioInlet<int> _rooms;
    private readonly VirtioInlet<(ushort Columns, ushort Rows)> _sizes;
    private ushort _columns;
    private ushort _rows;

    /// <summary>Makes a console.</summary>
    /// <param name="ports">Its ports, up to <see cref="MaximumPorts"/>; the first is the one that a driver without multiport support uses. Multiport is not offered for a single terminal, which Linux then has as soon as its driver is there.</param>
    /// <exception cref="ArgumentException">There is no port or there are too many, or a name is too long, empty or twice there.</exception>
    public VirtioConsole(params ReadOnlySpan<VirtioConsolePort> ports)
        : base(Id, ports.Length > 1 ? 2 * ports.Length + 2 : 4)
    {
        if (ports.Length is 0 or > MaximumPorts) throw new ArgumentException($"A virtio console has 1 to {MaximumPorts} ports, not {ports.Length}.", nameof(ports));
        _ports = new ConsolePort[ports.Length];
        for (var i = 0; i < ports.Length; i++)
        {
            var name = ports[i].Name;
            if (string.IsNullOrEmpty(name) || name.Contains('\0') || Encoding.UTF8.GetByteCount(name) > NameBytes) throw new ArgumentException($"The name of port {i} is not 1 to {NameBytes} bytes long.", nameof(ports));
            if (Array.Exists(_ports, p => p?.Asked.Name == name)) throw new ArgumentException($"Two ports are called '{name}'; give each a name of its own.", nameof(ports));
            _ports[i] = new ConsolePort(i, ports[i]);
        }

        _arrivals = CreateInlet<(int Port, byte[] Bytes)>(a => Arrive(_ports[a.Port], a.Bytes));
        _rooms = CreateInlet<int>(port => _ports[port].TakeFromGuest(Queues[TransmitQueue(port)]));
        _sizes = CreateInlet<(ushort Columns, ushort Rows)>(s => Resize(s.Columns, s.Rows));
    }

    /// <summary>
    /// Puts rows first in the message that tells of a new size. The specification has columns first, as Linux since 2025 (6.1.192, for one) reads it;
    /// before, it read rows first. A driver without multiport support reads the configuration, of which there are no two opinions.
    /// </summary>
    public bool RowsFirst { get; init; }

    /// <inheritdoc/>
    public override string Name => "virtio-console";

    /// <inheritdoc/>
    public override uint PciClass => 0x078000;

    /// <inheritdoc/>
    public override ulong Features => SizeFeature | EmergencyWrite | (_ports is [{ Asked.IsConsole: true }] ? 0 : MultiPort);

    /// <inheritdoc/>
    protected override VirtioConsoleConfig Config => new(_columns, _rows, (uint)_ports.Length, 0);

    /// <summary>Tells the guest's terminals how large they are. Any thread; of several sizes the guest may only see the last.</summary>
    /// <param name="columns">Characters in a line.</param>
    /// <param name="rows">Lines.</param>
    public void SetWindowSize(int columns, int rows) => _sizes.Post(((ushort)Math.Clamp(columns, 0, ushort.MaxValue), (ushort)Math.Clamp(rows, 0, ushort.MaxValue)));

    /// <summary>Bytes of a port that nobody at the host's end took.</summary>
    /// <param name="port">The port's number.</param>
    public long Undelivered(int port) => _ports[port].Undelivered;

    /// <summary>Unplugs the pipes: what the guest has sent is still delivered, then they are completed.</summary>
    public void Dispose()
    {
        foreach (var port in _ports) port.Close();
    }

    /// <inheritdoc/>
    protected override void OnConnected(MachineContext? machine)
    {
        foreach (var port in _ports)
        {
            var index = port.Index;
            port.Connect(bytes => _arrivals.Post((index, bytes)), () => _rooms.Post(index));
        }
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        foreach (var port in _ports) port.Reset();
    }

    /// <inheritdoc/>
    protected override bool WriteConfig(int offset, ReadOnlySpan<byte> data)
    {
        if (offset != EmergencyOffset) return false;
        _ports[0].Emit(data[0]);
        return true;
    }

    /// <inheritdoc/>
    protected override void OnQueue(int index, Virtqueue queue)
    {
        if (index == ControlReceive) SendNews();
        else if (index == ControlTransmit) TakeControl(queue);
        else if (index % 2 == 0) Fill(_ports[PortOf(index)]);
        else _ports[PortOf(index)].TakeFromGuest(queue);
    }

    /// <inheritdoc/>
    protected override void VisitFields(StateVisitor visitor)
    {
        visitor.Field(1, ref _columns);
        visitor.Field(2, ref _rows);
        for (var i = 0; i < _ports.Length; i++) visitor.Part(10 + i, _ports[i]);
    }

    private static int ReceiveQueue(int port) => port == 0 ? 0 : 2 * port + 2;

    private static int TransmitQueue(int port) => ReceiveQueue(port) + 1;

    private static int PortOf(int queue) => queue < 2 ? 0 : (queue - 2) / 2;

    private bool IsMultiPort => (NegotiatedFeatures & MultiPort) != 0;

    private void Arrive(ConsolePort port, byte[] bytes)
    {
        port.Arrive(bytes);
        Fill(port);
    }

    private void Fill(ConsolePort port)
    {
        if (!IsMultiPort || port.IsGuestOpen) port.FillGuest(Queues[ReceiveQueue(port.Index)]);
    }

    private void Resize(ushort columns, ushort rows)
    {
        (_columns, _rows) = (columns, rows);
        NotifyConfigChanged();
        foreach (var port in _ports)
        {
            if (port.Asked.IsConsole) port.News |= ConsoleNews.Size;
        }

        SendNews();
    }

    private void TakeControl(Virtqueue queue)
    {
        while (queue.TryTake(out var chain))
        {
            if (chain.TryRead(0, out ConsoleMessage message)) TakeMessage(message);
            else CountMistake();
            queue.Complete(chain, 0);
        }

        SendNews();
    }

    private void TakeMessage(ConsoleMessage message)
    {
        if (message.Event == ConsoleEvent.DeviceReady)
        {
            if (message.Value != 1) return;
            foreach (var added in _ports) added.News |= ConsoleNews.Add;
            return;
        }

        if (message.Id >= (uint)_ports.Length)
        {
            CountMistake();
            return;
        }

        var port = _ports[message.Id];
        switch (message.Event)
        {
            case ConsoleEvent.PortReady when message.Value == 1:
                port.News |= ConsoleNews.Name | ConsoleNews.Open | (port.Asked.IsConsole ? ConsoleNews.Console | ConsoleNews.Size : 0);
                break;
            case ConsoleEvent.PortReady: break; // the driver could not make use of the port
            case ConsoleEvent.PortOpen:
                port.IsGuestOpen = message.Value != 0;
                Fill(port);
                break;
            default: CountMistake(); break;
        }
    }

    // As far as the driver has put buffers there; the rest when it puts more.
    private void SendNews()
    {
        if (!IsMultiPort) return;
        var queue = Queues[ControlReceive];
        Span<byte> bytes = stackalloc byte[HeaderLength + NameBytes + 1];
        foreach (var port in _ports)
        {
            while (port.News != 0)
            {
                var next = (ConsoleNews)((int)port.News & -(int)port.News);
                if (next == ConsoleNews.Size && _columns == 0 && _rows == 0)
                {
                    port.News &= ~next;
                    continue;
                }

                if (!queue.TryTake(out var chain)) return;
                port.News &= ~next;
                var message = bytes[..Write(bytes, port, next)];
                message = message[..(int)Math.Min((ulong)message.Length, chain.WritableLength)];
                chain.TryWrite(0, message);
                queue.Complete(chain, (uint)message.Length);
            }
        }
    }

    private int Write(Span<byte> bytes, ConsolePort port, ConsoleNews news)
    {
        var (kind, value) = news switch
        {
            ConsoleNews.Add => (ConsoleEvent.PortAdd, 1),
            ConsoleNews.Console => (ConsoleEvent.ConsolePort, 1),
            ConsoleNews.Size => (ConsoleEvent.Resize, 1),
            ConsoleNews.Name => (ConsoleEvent.PortName, 1),
            _ => (ConsoleEvent.PortOpen, port.IsHostOpen ? 1 : 0),
        };
        MemoryMarshal.Write(bytes, new ConsoleMessage((uint)port.Index, kind, (ushort)value));
        var body = bytes[HeaderLength..];
        switch (news)
        {
            case ConsoleNews.Size:
                MemoryMarshal.Write(body, RowsFirst ? _rows : _columns);
                MemoryMarshal.Write(body[2..], RowsFirst ? _columns : _rows);
                return HeaderLength + 4;
            case ConsoleNews.Name:
                port.Name.CopyTo(body);
                return HeaderLength + port.Name.Length;
            default: return HeaderLength;
        }
    }
}
