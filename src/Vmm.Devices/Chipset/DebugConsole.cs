// Bochs and QEMU "debug console": I/O port 0xE9, and 0x402 for SeaBIOS; a read of the port tells that it is there by 0xE9.
using System.IO.Pipelines;
using System.Text;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;
using Vmm.Devices.Serial;

namespace Vmm.Devices.Chipset;

/// <summary>
/// A port whose bytes are text for the host: firmware and small kernels write their messages there. The latest
/// <see cref="Capacity"/> bytes are kept; all of them go to a pipe if one is given, except those that its reader is more than 64 KiB late for.
/// </summary>
public sealed class DebugConsole : IDevice, IIoHandler, IDisposable
{
    /// <summary>How many bytes are kept.</summary>
    public const int Capacity = 64 << 10;

    /// <summary>The port that Bochs made customary.</summary>
    public const ushort DefaultPort = 0xE9;

    /// <summary>The port that SeaBIOS writes to.</summary>
    public const ushort FirmwarePort = 0x402;

    private const byte Present = 0xE9;

    private readonly byte[] _kept = new byte[Capacity];
    private readonly SerialOutput? _output;
    private long _written;
    private long _dropped;

    /// <summary>Makes a debug console.</summary>
    /// <param name="output">Gets the bytes as well; completed when the device is disposed. Null for none.</param>
    public DebugConsole(PipeWriter? output = null) => _output = output is null ? null : new SerialOutput(output, static () => { });

    /// <summary>Bytes that the guest has written since power-on.</summary>
    public long Written => Volatile.Read(ref _written);

    /// <summary>Bytes that the pipe did not get because nobody read it.</summary>
    public long Dropped => Volatile.Read(ref _dropped) + (_output?.Undelivered ?? 0);

    /// <summary>The bytes kept, as UTF-8 text.</summary>
    public string Text
    {
        get
        {
            lock (this)
            {
                var count = (int)Math.Min(_written, Capacity);
                var first = (int)((_written - count) % Capacity);
                byte[] bytes = [.. _kept.AsSpan(first, Math.Min(count, Capacity - first)), .. _kept.AsSpan(0, Math.Max(0, first + count - Capacity))];
                return Encoding.UTF8.GetString(bytes);
            }
        }
    }

    /// <inheritdoc/>
    public void Reset() => _written = 0;

    /// <inheritdoc/>
    public ulong Read(uint offset, int size) => Present;

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value)
    {
        for (var i = 0; i < size; i++)
        {
            var next = (byte)(value >> (i * 8));
            _kept[_written % Capacity] = next;
            Volatile.Write(ref _written, _written + 1);
            if (_output is not null && !_output.TrySend(next)) Interlocked.Increment(ref _dropped);
        }
    }

    /// <summary>Completes the pipe when what was written is delivered.</summary>
    public void Dispose() => _output?.Close();

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor) { }
}
