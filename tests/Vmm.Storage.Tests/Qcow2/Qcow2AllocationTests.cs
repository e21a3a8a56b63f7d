using System.Threading.Tasks.Sources;
using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.TestSupport;

namespace Vmm.Storage.Tests.Qcow2;

/// <summary>Reads and writes in place allocate nothing, also with many under way.</summary>
public class Qcow2AllocationTests
{
    private const int Depth = 32, Block = 4096;

    [Fact]
    public async Task Requests_ManyAtOnce_AllocateNothing()
    {
        var file = new MemoryStore(0);
        await Qcow2Store.CreateAsync(file, 1 << 20);
        var late = new LateStore(file);
        await using var image = await Qcow2Store.OpenAsync(late, "disk");
        var bytes = new byte[Block];
        for (var i = 0; i < Depth; i++) await image.WriteAsync(i * Block, bytes);
        await image.FlushAsync();
        var pieces = new[] { bytes.AsMemory(0, 512), bytes.AsMemory(512) };
        var sources = new ReadOnlyMemory<byte>[] { pieces[0], pieces[1] };
        var tasks = new ValueTask[Depth];
        void Round()
        {
            late.IsLate = true;
            for (var i = 0; i < Depth; i++)
            {
                tasks[i] = (i % 4) switch
                {
                    0 => image.ReadAsync(i * Block, bytes),
                    1 => image.WriteAsync(i * Block, bytes),
                    2 => image.ReadAsync(i * Block, pieces),
                    _ => image.WriteAsync(i * Block, sources),
                };
            }

            if (late.Waiting != Depth) Assert.Fail($"{late.Waiting} requests reached the file.");
            late.Release();
            End(tasks);
        }

        for (var round = 0; round < 10; round++) Round();
        Assert.Equal(0, Allocations.LeastOf(() => { for (var round = 0; round < 10; round++) Round(); }));
        late.IsLate = false;
    }

    [Fact]
    public async Task Request_ThatFailsLater_ReleasesItsRange()
    {
        var file = new MemoryStore(0);
        await Qcow2Store.CreateAsync(file, 1 << 20);
        var late = new LateStore(file);
        await using var image = await Qcow2Store.OpenAsync(late, "disk");
        await image.WriteAsync(0, new byte[Block]);
        late.IsLate = true;
        var read = image.ReadAsync(0, new byte[Block]).AsTask();
        late.Release(new IOException("The disk failed."));
        await Assert.ThrowsAsync<IOException>(() => read);
        late.IsLate = false;

        // Needs the range alone.
        await image.DiscardAsync(0, 1 << 20);
    }

    private static void End(ValueTask[] tasks)
    {
        foreach (var task in tasks) task.GetAwaiter().GetResult();
    }

    /// <summary>A store whose requests complete when a test says so, without allocating.</summary>
    private sealed class LateStore : BlockStore
    {
        private readonly MemoryStore _inner;
        private readonly Slot[] _slots = [.. Enumerable.Range(0, Depth).Select(_ => new Slot())];

        public LateStore(MemoryStore inner) => _inner = inner;

        public bool IsLate { get; set; }

        public int Waiting { get; private set; }

        public override long Length => _inner.Length;

        public override bool IsReadOnly => false;

        public void Release(Exception? error = null)
        {
            for (; Waiting > 0; Waiting--) _slots[Waiting - 1].End(error);
        }

        public override ValueTask FlushAsync() => _inner.FlushAsync();

        public override ValueTask DisposeAsync() => _inner.DisposeAsync();

        protected override ValueTask ReadCoreAsync(long offset, Memory<byte> destination) => IsLate ? _slots[Waiting++].Task : _inner.ReadAsync(offset, destination);

        protected override ValueTask ReadCoreAsync(long offset, IReadOnlyList<Memory<byte>> destinations) => IsLate ? _slots[Waiting++].Task : _inner.ReadAsync(offset, destinations);

        protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> source) => IsLate ? _slots[Waiting++].Task : _inner.WriteAsync(offset, source);

        protected override ValueTask WriteCoreAsync(long offset, IReadOnlyList<ReadOnlyMemory<byte>> sources) => IsLate ? _slots[Waiting++].Task : _inner.WriteAsync(offset, sources);

        protected override ValueTask ResizeCoreAsync(long length) => _inner.ResizeAsync(length);
    }

    private sealed class Slot : IValueTaskSource
    {
        private ManualResetValueTaskSourceCore<bool> _core;

        public ValueTask Task => new(this, _core.Version);

        public void End(Exception? error)
        {
            if (error is null) _core.SetResult(true);
            else _core.SetException(error);
        }

        public void GetResult(short token)
        {
            try
            {
                _core.GetResult(token);
            }
            finally
            {
                _core.Reset();
            }
        }

        public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

        public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) => _core.OnCompleted(continuation, state, token, flags);
    }
}
