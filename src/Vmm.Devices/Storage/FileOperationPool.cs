namespace Vmm.Devices.Storage;

/// <summary>Operations that wait to be used again.</summary>
internal sealed class FileOperationPool
{
    // As many as requests are under way in a busy disk; what is over is left to the collector.
    private const int Capacity = 256;

    private readonly Lock _lock = new();
    private readonly FileOperation?[] _operations = new FileOperation?[Capacity];
    private int _count;

    public FileOperation Rent()
    {
        lock (_lock)
        {
            if (_count > 0) return _operations[--_count]!;
        }

        return new FileOperation(this);
    }

    public void Return(FileOperation operation)
    {
        lock (_lock)
        {
            if (_count < Capacity) _operations[_count++] = operation;
        }
    }
}
