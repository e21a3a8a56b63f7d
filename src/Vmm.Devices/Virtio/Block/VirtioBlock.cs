// Virtio 1.3, 5.2 "Block Device".
using System.Buffers.Binary;
using System.Text;
using Vmm.Core.State;
using Vmm.Devices.Storage;
using Vmm.Devices.Virtio.Queues;
using static Vmm.Devices.Virtio.Block.VirtioBlockSpec;

namespace Vmm.Devices.Virtio.Block;

/// <summary>
/// A disk over a store. Requests of all queues run at the same time and complete in any order; data goes between guest memory and the
/// store without a copy. What the store cannot do, and what the guest asks for wrongly, is an I/O error of that request. Requests that are under way
/// when the machine is saved are made again when it is loaded, which changes nothing: the guest has not been told of them. <see cref="DrainAsync"/>
/// waits for them, in a machine that is paused.
/// </summary>
public sealed class VirtioBlock : VirtioDevice<VirtioBlockConfig>, IDisposable
{
    /// <summary>Its virtio device id.</summary>
    public const ushort Id = 2;

    /// <summary>The most bytes that one request moves; a longer one is an I/O error.</summary>
    public const int MaximumRequestBytes = 256 << 20;

    /// <summary>The most ranges in one request to discard or zero.</summary>
    public const int MaximumSegments = 16;

    private const int MaximumQueues = 64, MaximumPooled = 1024;
    private const uint MaximumRangeSectors = 1u << 22, SegMaximum = 126;

    private struct State
    {
        public ulong Capacity;
    }

    private readonly Lock _workLock = new();
    private readonly Stack<BlockWork> _work = [];
    private readonly ThrottledStore _store;
    private readonly IBlockStore _given;
    private readonly VirtioBlockOptions _options;
    private readonly byte[] _serial = new byte[IdLength];
    private State _s;
    private int _inFlight;
    private long _errors;
    private TaskCompletionSource? _idle;

    /// <summary>Makes a disk.</summary>
    /// <param name="store">What is on it; disposed with the device.</param>
    /// <param name="options">What it is like; null for the defaults.</param>
    /// <param name="time">The clock of the rate limit; null for the host's.</param>
    public VirtioBlock(IBlockStore store, VirtioBlockOptions? options = null, TimeProvider? time = null) : base(Id, (options ?? new VirtioBlockOptions()).Queues)
    {
        ArgumentNullException.ThrowIfNull(store);
        _options = options ?? new VirtioBlockOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(_options.Queues, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(_options.Queues, MaximumQueues, nameof(options));
        if (!Ascii.IsValid(_options.Serial) || _options.Serial.Length > IdLength) throw new ArgumentException($"The serial number '{_options.Serial}' is not up to {IdLength} ASCII characters.", nameof(options));
        _given = store;
        _store = new ThrottledStore(store, _options.Limit, time);
        Encoding.ASCII.GetBytes(_options.Serial, _serial);
        _s.Capacity = (ulong)store.Length / SectorSize;
    }

    /// <inheritdoc/>
    public override string Name => "virtio-blk";

    /// <inheritdoc/>
    public override uint PciClass => 0x018000; // mass storage, other

    /// <inheritdoc/>
    public override ulong Features => SegMax | BlkSize | Flush | VirtioBlockSpec.Topology | (IsReadOnly ? ReadOnly : Discard | WriteZeroes) | (_options.Queues > 1 ? Mq : 0);

    /// <summary>Whether the guest may not write.</summary>
    public bool IsReadOnly => _options.ReadOnly || _store.IsReadOnly;

    /// <summary>How fast requests may go. Any thread; holds at once.</summary>
    public RateLimit Limit { get => _store.Limit; set => _store.Limit = value; }

    /// <summary>Requests that the store works on now. Any thread.</summary>
    public int InFlight => Volatile.Read(ref _inFlight);

    /// <summary>Requests that ended with an error since the device was made. Any thread.</summary>
    public long Errors => Volatile.Read(ref _errors);

    /// <inheritdoc/>
    protected override VirtioBlockConfig Config
    {
        get
        {
            var topology = _store.Topology;
            return new VirtioBlockConfig
            {
                Capacity = _s.Capacity, SegMax = SegMaximum, BlkSize = (uint)topology.LogicalBlockSize, PhysicalBlockExp = (byte)int.Log2(Math.Max(1, topology.PhysicalBlockSize / topology.LogicalBlockSize)),
                MinIoSize = (ushort)Math.Min(topology.PhysicalBlockSize / topology.LogicalBlockSize, ushort.MaxValue), OptIoSize = (uint)(topology.OptimalIoSize / topology.LogicalBlockSize), Writeback = 1,
                NumQueues = (ushort)_options.Queues, MaxDiscardSectors = MaximumRangeSectors, MaxDiscardSeg = MaximumSegments, DiscardSectorAlignment = (uint)(topology.DiscardGranularity / SectorSize),
                MaxWriteZeroesSectors = MaximumRangeSectors, MaxWriteZeroesSeg = MaximumSegments, WriteZeroesMayUnmap = 1,
            };
        }
    }

    /// <summary>Changes the disk's size, and tells the driver. Not for one that is read-only.</summary>
    /// <param name="length">Bytes, a multiple of 512. A driver that is cut short of what it uses loses it.</param>
    public async ValueTask ResizeAsync(long length)
    {
        if (length % SectorSize != 0) throw new ArgumentException($"{length} is no multiple of {SectorSize}.", nameof(length));
        await _store.ResizeAsync(length).ConfigureAwait(false);
        lock (Gate) UpdateCapacity();
    }

    /// <summary>Completes when the store works on nothing. New requests of a guest that runs meanwhile may keep it waiting.</summary>
    public Task DrainAsync()
    {
        lock (_workLock)
        {
            if (_inFlight == 0) return Task.CompletedTask;
            return (_idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }

    /// <summary>Waits for the store, flushes and closes it. Requests that wait for the rate limit are given up.</summary>
    public void Dispose()
    {
        _store.GiveUpWaiting();
        DrainAsync().GetAwaiter().GetResult();
        if (_options.LeaveOpen) _given.FlushAsync().AsTask().GetAwaiter().GetResult();
        else _given.DisposeAsync().AsTask().GetAwaiter().GetResult();
    }

    /// <inheritdoc/>
    protected override void OnQueue(int index, Virtqueue queue)
    {
        while (queue.TryTake(out var chain))
        {
            if (chain.WritableLength == 0)
            {
                queue.Fail("a block request has no room for its status");
                queue.Complete(chain, 0);
                continue;
            }

            Serve(queue, chain);
        }
    }

    /// <inheritdoc/>
    protected override void VisitFields(StateVisitor visitor) => visitor.Field(1, ref _s.Capacity);

    /// <inheritdoc/>
    protected override void OnFieldsLoaded() => UpdateCapacity();

    /// <summary>Ends a request: on the thread that took it and under the lock (inline), or on the store's.</summary>
    internal void Finish(BlockWork work, Exception? error, bool isInline)
    {
        var (queue, chain, answer) = (work.Queue, work.Chain, work.Answer);
        work.Pieces.Clear();
        work.Sources.Clear();
        work.Chain = default;
        var status = error is null ? Ok : IoError;
        if (error is not null) Interlocked.Increment(ref _errors);
        chain.TryWrite(chain.WritableLength - 1, status);

        // Of data that was not read the driver shall not think that it was.
        var written = error is null || chain.WritableLength == 1 ? answer + 1 : 0;
        if (isInline) queue.Complete(chain, written);
        else queue.CompleteLater(chain, written);
        TaskCompletionSource? idle = null;
        lock (_workLock)
        {
            if (_work.Count < MaximumPooled) _work.Push(work);
            if (--_inFlight == 0) (idle, _idle) = (_idle, null);
        }

        idle?.SetResult();
    }

    private void Serve(Virtqueue queue, DescriptorChain chain)
    {
        if (!chain.TryRead(0, out ulong head) || !chain.TryRead(8, out ulong sector))
        {
            Answer(queue, chain, IoError);
            return;
        }

        ulong given = chain.ReadableLength - HeaderLength, room = chain.WritableLength - 1;
        switch ((uint)head)
        {
            case In when given == 0 && IsInside(sector, room):
                StartRead(queue, chain, (long)sector * SectorSize, (uint)room);
                break;
            case Out when room == 0 && !IsReadOnly && IsInside(sector, given):
                StartWrite(queue, chain, (long)sector * SectorSize, given);
                break;
            case FlushRequest when given == 0 && room == 0:
                Start(queue, chain, 0, static (device, _) => device._store.FlushAsync());
                break;
            case GetId:
                chain.TryWrite(0, _serial.AsSpan(0, (int)Math.Min(room, IdLength)));
                Answer(queue, chain, Ok, (uint)Math.Min(room, IdLength));
                break;
            case DiscardRequest or WriteZeroesRequest when room == 0 && !IsReadOnly && given is > 0 and <= MaximumSegments * SegmentLength && given % SegmentLength == 0:
                ServeRanges(queue, chain, (int)given / SegmentLength, isDiscard: (uint)head == DiscardRequest);
                break;
            case In or Out or FlushRequest or DiscardRequest or WriteZeroesRequest:
                Answer(queue, chain, IoError);
                break;
            default:
                Answer(queue, chain, Unsupported);
                break;
        }
    }

    private bool IsInside(ulong sector, ulong bytes) =>
        bytes % SectorSize == 0 && bytes <= MaximumRequestBytes && sector <= _s.Capacity && bytes / SectorSize <= _s.Capacity - sector;

    private void StartRead(Virtqueue queue, DescriptorChain chain, long offset, uint length)
    {
        var work = Rent(queue, chain, length);
        if (chain.TryLend(writable: true, 0, length, work.Pieces)) Run(work, offset, static (device, work, offset) => device._store.ReadAsync(offset, work.Pieces));
        else Finish(work, new IOException("The buffers are no memory."), isInline: true);
    }

    private void StartWrite(Virtqueue queue, DescriptorChain chain, long offset, ulong length)
    {
        var work = Rent(queue, chain, 0);
        if (!chain.TryLend(writable: false, HeaderLength, length, work.Pieces))
        {
            Finish(work, new IOException("The buffers are no memory."), isInline: true);
            return;
        }

        foreach (var piece in work.Pieces) work.Sources.Add(piece);

        // Without the flush feature the driver takes a write for durable once it is done (5.2.6.2).
        if ((NegotiatedFeatures & Flush) == 0) Run(work, offset, static (device, work, offset) => device.WriteThroughAsync(offset, work.Sources));
        else Run(work, offset, static (device, work, offset) => device._store.WriteAsync(offset, work.Sources));
    }

    private async ValueTask WriteThroughAsync(long offset, List<ReadOnlyMemory<byte>> sources)
    {
        await _store.WriteAsync(offset, sources).ConfigureAwait(false);
        await _store.FlushAsync().ConfigureAwait(false);
    }

    private void ServeRanges(Virtqueue queue, DescriptorChain chain, int count, bool isDiscard)
    {
        var ranges = new (long Offset, long Length, bool MayUnmap)[count];
        Span<byte> segment = stackalloc byte[SegmentLength];
        for (var i = 0; i < count; i++)
        {
            chain.TryRead((ulong)(HeaderLength + i * SegmentLength), segment);
            var sector = BinaryPrimitives.ReadUInt64LittleEndian(segment);
            uint sectors = BinaryPrimitives.ReadUInt32LittleEndian(segment[8..]), flags = BinaryPrimitives.ReadUInt32LittleEndian(segment[12..]);
            if ((flags & ~UnmapFlag) != 0 || (isDiscard && flags != 0))
            {
                Answer(queue, chain, Unsupported);
                return;
            }

            if (sectors > MaximumRangeSectors || sector > _s.Capacity || sectors > _s.Capacity - sector)
            {
                Answer(queue, chain, IoError);
                return;
            }

            ranges[i] = ((long)sector * SectorSize, sectors * (long)SectorSize, (flags & UnmapFlag) != 0);
        }

        Start(queue, chain, 0, (device, _) => device.ApplyAsync(ranges, isDiscard));
    }

    private async ValueTask ApplyAsync((long Offset, long Length, bool MayUnmap)[] ranges, bool isDiscard)
    {
        foreach (var (offset, length, mayUnmap) in ranges)
        {
            if (isDiscard) await _store.DiscardAsync(offset, length).ConfigureAwait(false);
            else await _store.WriteZeroesAsync(offset, length, mayUnmap).ConfigureAwait(false);
        }

        if ((NegotiatedFeatures & Flush) == 0) await _store.FlushAsync().ConfigureAwait(false);
    }

    private void Start(Virtqueue queue, DescriptorChain chain, uint answer, Func<VirtioBlock, BlockWork, ValueTask> request)
    {
        var work = Rent(queue, chain, answer);
        ValueTask task;
        try
        {
            task = request(this, work);
        }
        catch (Exception e)
        {
            task = ValueTask.FromException(e);
        }

        work.Await(task);
    }

    private void Run(BlockWork work, long offset, Func<VirtioBlock, BlockWork, long, ValueTask> request)
    {
        ValueTask task;
        try
        {
            task = request(this, work, offset);
        }
        catch (Exception e)
        {
            // The disk may have shrunk since the range was checked.
            task = ValueTask.FromException(e);
        }

        work.Await(task);
    }

    private BlockWork Rent(Virtqueue queue, DescriptorChain chain, uint answer)
    {
        BlockWork? work;
        lock (_workLock)
        {
            _inFlight++;
            if (!_work.TryPop(out work)) work = new BlockWork(this);
        }

        (work.Queue, work.Chain, work.Answer) = (queue, chain, answer);
        return work;
    }

    private void Answer(Virtqueue queue, DescriptorChain chain, byte status, uint written = 0)
    {
        if (status != Ok) Interlocked.Increment(ref _errors);
        chain.TryWrite(chain.WritableLength - 1, status);
        queue.Complete(chain, written == chain.WritableLength - 1 ? written + 1 : written);
    }

    private void UpdateCapacity()
    {
        var capacity = (ulong)_store.Length / SectorSize;
        if (capacity == _s.Capacity) return;
        _s.Capacity = capacity;
        NotifyConfigChanged();
    }
}
