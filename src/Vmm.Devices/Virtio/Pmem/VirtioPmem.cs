// Virtio 1.3, 5.19 "PMEM Device".
using Vmm.Devices.Virtio.Queues;

namespace Vmm.Devices.Virtio.Pmem;

/// <summary>
/// Memory that lasts: the guest reads and writes it as it does RAM, and asks by a request that what it wrote be made durable. This is the device with that
/// request; the memory is a region of the machine's (<see cref="VirtioPmemExtensions.AddVirtioPmem"/>). One flush runs at a time; requests that come
/// meanwhile share the next, so that a guest keeps at most one of the host's threads waiting for a disk.
/// </summary>
public sealed class VirtioPmem : VirtioDevice<VirtioPmemConfig>, IDisposable, IThreadPoolWorkItem
{
    /// <summary>Its virtio device id.</summary>
    public const ushort Id = 27;

    /// <summary>What start and size are multiples of: Linux maps such memory in pieces of 2 MiB.</summary>
    public const ulong Alignment = 2 << 20;

    private const uint FlushRequest = 0, Ok = 0, IoError = 1;
    private const int AnswerLength = 4;

    private readonly VirtioPmemConfig _config;
    private readonly Action _flush;
    private readonly Lock _lock = new();
    private List<DescriptorChain> _waiting = [], _flushing = [];
    private TaskCompletionSource? _idle;
    private bool _running;

    /// <summary>Makes the device of a range of memory.</summary>
    /// <param name="start">Guest-physical address; a multiple of <see cref="Alignment"/>.</param>
    /// <param name="length">Bytes; a positive multiple of <see cref="Alignment"/>.</param>
    /// <param name="flush">Makes durable what the memory holds. On a thread of the pool; an <see cref="IOException"/> is told to the guest.</param>
    /// <exception cref="ArgumentException">The range is not aligned.</exception>
    public VirtioPmem(ulong start, ulong length, Action flush) : base(Id, 1)
    {
        ArgumentNullException.ThrowIfNull(flush);
        if (length == 0 || (start | length) % Alignment != 0) throw new ArgumentException($"Persistent memory 0x{start:x}+0x{length:x}: start and size are multiples of {Alignment >> 20} MiB.", nameof(length));
        (_config, _flush) = (new VirtioPmemConfig(start, length), flush);
    }

    /// <inheritdoc/>
    public override string Name => "virtio-pmem";

    /// <inheritdoc/>
    protected override VirtioPmemConfig Config => _config;

    /// <summary>Completes when no flush runs or waits. New requests of a guest that runs meanwhile may keep it waiting.</summary>
    public Task DrainAsync()
    {
        lock (_lock)
        {
            if (!_running) return Task.CompletedTask;
            return (_idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }

    /// <summary>Waits for flushes, then flushes a last time.</summary>
    public void Dispose()
    {
        DrainAsync().GetAwaiter().GetResult();
        _flush();
    }

    /// <inheritdoc/>
    protected override void OnQueue(int index, Virtqueue queue)
    {
        var start = false;
        while (queue.TryTake(out var chain))
        {
            if (chain.WritableLength < AnswerLength)
            {
                CountMistake();
                queue.Complete(chain, 0);
            }
            else if (!chain.TryRead(0, out uint request) || request != FlushRequest)
            {
                chain.TryWrite(0, IoError);
                queue.Complete(chain, AnswerLength);
            }
            else
            {
                lock (_lock)
                {
                    _waiting.Add(chain);
                    if (!_running) start = _running = true;
                }
            }
        }

        if (start) ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    void IThreadPoolWorkItem.Execute()
    {
        while (true)
        {
            TaskCompletionSource? idle = null;
            lock (_lock)
            {
                // The list that was served last takes what comes next.
                _flushing.Clear();
                (_flushing, _waiting) = (_waiting, _flushing);
                if (_flushing.Count == 0)
                {
                    (_running, idle, _idle) = (false, _idle, null);
                }
            }

            if (_flushing.Count == 0)
            {
                idle?.SetResult();
                return;
            }

            var answer = Ok;
            try
            {
                _flush();
            }
            catch (IOException)
            {
                answer = IoError;
            }

            foreach (var chain in _flushing)
            {
                chain.TryWrite(0, answer);
                Queues[0].CompleteLater(chain, AnswerLength);
            }
        }
    }
}
