// Virtio 1.3, 5.3.6 "Device Operation".
using System.Text;
using Vmm.Core.State;
using Vmm.Devices.Serial;
using Vmm.Devices.Virtio.Queues;

namespace Vmm.Devices.Virtio.Console;

/// <summary>One port: bytes that wait for the guest, and how far the host has taken what the guest sent.</summary>
internal sealed class ConsolePort : IStateful
{
    private const int Piece = 4096;

    private readonly byte[] _pending = new byte[SerialInput.Capacity];
    private readonly byte[] _piece = new byte[Piece];
    private int _first;
    private int _count;
    private int _countKnown;
    private ulong _sent;
    private ConsoleNews _news;
    private bool _guestOpen;
    private SerialInput? _input;
    private SerialOutput? _output;

    public ConsolePort(int index, VirtioConsolePort asked)
    {
        (Index, Asked) = (index, asked);
        Name = Encoding.UTF8.GetBytes(asked.Name);
    }

    public int Index { get; }

    public VirtioConsolePort Asked { get; }

    public byte[] Name { get; }

    public ref ConsoleNews News => ref _news;

    /// <summary>Whether a program in the guest has it open. A driver throws away what comes before.</summary>
    public bool IsGuestOpen { get => _guestOpen; set => _guestOpen = value; }

    public bool IsHostOpen => _output is not null;

    /// <summary>Bytes that were dropped because nobody is at the other end.</summary>
    public long Undelivered => _output?.Undelivered ?? 0;

    public void Connect(Action<byte[]> arrived, Action roomAgain)
    {
        if (Asked.Pipe is not { } pipe) return;
        _output = new SerialOutput(pipe.Output, roomAgain);
        _input = new SerialInput(pipe.Input, arrived);
        _input.Start();
    }

    public void Close()
    {
        _output?.Close();
        _input?.Stop();
    }

    public void Reset()
    {
        (_sent, _news, _guestOpen) = (0, ConsoleNews.None, false);
    }

    /// <summary>From the host: the pump has promised not to bring more than there is room for.</summary>
    public void Arrive(ReadOnlySpan<byte> bytes)
    {
        var count = Math.Min(bytes.Length, _pending.Length - _count);
        foreach (var value in bytes[..count]) _pending[(_first + _count++) % _pending.Length] = value;
        _countKnown += count;
        if (count < bytes.Length) _input?.Occupy(count - bytes.Length);
    }

    /// <summary>Gives the guest what waits for it, as far as it has room.</summary>
    public void FillGuest(Virtqueue queue)
    {
        while (_count > 0 && queue.TryTake(out var chain))
        {
            uint written = 0;
            while (_count > 0 && written < chain.WritableLength)
            {
                var run = _pending.AsSpan(_first, Math.Min(Math.Min(_count, _pending.Length - _first), (int)Math.Min(chain.WritableLength - written, (ulong)_pending.Length)));
                if (!chain.TryWrite(written, run)) break;
                _first = (_first + run.Length) % _pending.Length;
                _count -= run.Length;
                written += (uint)run.Length;
            }

            _countKnown -= (int)written;
            _input?.Occupy(-(int)written);
            queue.Complete(chain, written);
        }
    }

    /// <summary>Takes what the guest sends, as far as the host has room. What is left stays with its chain.</summary>
    public void TakeFromGuest(Virtqueue queue)
    {
        while (queue.TryTake(out var chain))
        {
            // More than was readable: state that was saved is not to be trusted.
            _sent = Math.Min(_sent, chain.ReadableLength);
            while (_sent < chain.ReadableLength)
            {
                var room = _output?.Room ?? int.MaxValue;
                var piece = _piece.AsSpan(0, (int)Math.Min(Math.Min((ulong)room, Piece), chain.ReadableLength - _sent));
                if (piece.IsEmpty)
                {
                    queue.PutBack(chain);
                    return;
                }

                // A guest may offer 4 GiB that nobody will read: those are not worth copying.
                if (room == int.MaxValue)
                {
                    _sent = chain.ReadableLength;
                    break;
                }

                if (!chain.TryRead(_sent, piece) || !_output!.TrySend(piece)) break;
                _sent += (uint)piece.Length;
            }

            _sent = 0;
            queue.Complete(chain, 0);
        }
    }

    public void Emit(byte value) => _output?.TrySend(value);

    public void VisitState(StateVisitor visitor)
    {
        visitor.Array(1, _pending.AsSpan());
        visitor.Field(2, ref _first);
        visitor.Field(3, ref _count);
        visitor.Field(4, ref _sent);
        visitor.Field(5, ref _news);
        visitor.Field(6, ref _guestOpen);
    }

    public void OnStateLoaded()
    {
        _first = (int)((uint)_first % SerialInput.Capacity);
        _count = Math.Clamp(_count, 0, SerialInput.Capacity);
        _news &= ConsoleNews.All;
        _input?.Occupy(_count - _countKnown);
        _countKnown = _count;
    }
}
