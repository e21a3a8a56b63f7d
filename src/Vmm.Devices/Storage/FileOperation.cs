using System.Threading.Tasks.Sources;
using Microsoft.Win32.SafeHandles;

namespace Vmm.Devices.Storage;

/// <summary>One positional read, write or flush of a file on a thread of the pool; used again and again, so that requests allocate nothing.</summary>
internal sealed class FileOperation(OperationPool<FileOperation> pool) : IThreadPoolWorkItem, IValueTaskSource
{
    private ManualResetValueTaskSourceCore<bool> _core;
    private SafeFileHandle? _file;
    private long _offset;
    private Memory<byte> _destination;
    private ReadOnlyMemory<byte> _source;
    private IReadOnlyList<Memory<byte>>? _destinations;
    private IReadOnlyList<ReadOnlyMemory<byte>>? _sources;
    private Kind _kind;

    private enum Kind
    {
        Read,
        ReadPieces,
        Write,
        WritePieces,
        Flush,
    }

    public ValueTask Read(SafeFileHandle file, long offset, Memory<byte> destination)
    {
        (_kind, _destination) = (Kind.Read, destination);
        return Start(file, offset);
    }

    public ValueTask Read(SafeFileHandle file, long offset, IReadOnlyList<Memory<byte>> destinations)
    {
        (_kind, _destinations) = (Kind.ReadPieces, destinations);
        return Start(file, offset);
    }

    public ValueTask Write(SafeFileHandle file, long offset, ReadOnlyMemory<byte> source)
    {
        (_kind, _source) = (Kind.Write, source);
        return Start(file, offset);
    }

    public ValueTask Write(SafeFileHandle file, long offset, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        (_kind, _sources) = (Kind.WritePieces, sources);
        return Start(file, offset);
    }

    public ValueTask Flush(SafeFileHandle file)
    {
        _kind = Kind.Flush;
        return Start(file, 0);
    }

    void IThreadPoolWorkItem.Execute()
    {
        try
        {
            Perform(_file!);
            _core.SetResult(true);
        }
        catch (Exception e)
        {
            _core.SetException(e);
        }
    }

    void IValueTaskSource.GetResult(short token)
    {
        try
        {
            _core.GetResult(token);
        }
        finally
        {
            _core.Reset();
            (_file, _destination, _source, _destinations, _sources) = (null, default, default, null, null);
            pool.Return(this);
        }
    }

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) => _core.OnCompleted(continuation, state, token, flags);

    private ValueTask Start(SafeFileHandle file, long offset)
    {
        (_file, _offset) = (file, offset);
        var token = _core.Version;
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        return new ValueTask(this, token);
    }

    private void Perform(SafeFileHandle file)
    {
        switch (_kind)
        {
            case Kind.Read:
                ReadAll(file, _destination.Span, _offset);
                break;
            case Kind.ReadPieces:
                var wanted = BlockPieces.Length(_destinations!);
                var got = RandomAccess.Read(file, _destinations!, _offset);
                if (got < wanted) ReadRest(file, got);
                break;
            case Kind.Write:
                RandomAccess.Write(file, _source.Span, _offset);
                break;
            case Kind.WritePieces:
                RandomAccess.Write(file, _sources!, _offset);
                break;
            default:
                RandomAccess.FlushToDisk(file);
                break;
        }
    }

    private void ReadRest(SafeFileHandle file, long got)
    {
        long at = 0;
        foreach (var piece in _destinations!)
        {
            var have = (int)Math.Clamp(got - at, 0, piece.Length);
            ReadAll(file, piece.Span[have..], _offset + at + have);
            at += piece.Length;
        }
    }

    private static void ReadAll(SafeFileHandle file, Span<byte> destination, long offset)
    {
        while (!destination.IsEmpty)
        {
            var count = RandomAccess.Read(file, destination, offset);
            if (count == 0) throw new EndOfStreamException($"The disk's file ends at {offset}, before its disk: something else has cut it short.");
            destination = destination[count..];
            offset += count;
        }
    }
}
