namespace Vmm.Devices.Storage;

/// <summary>Operations that wait to be used again.</summary>
/// <param name="make">Makes one more; it comes back by <see cref="Return"/>.</param>
internal sealed class OperationPool<T>(Func<OperationPool<T>, T> make) where T : class
{
    // As many as requests are under way in a busy disk; what is over is left to the collector.
    private const int Capacity = 256;

    private readonly Lock _lock = new();
    private readonly T?[] _operations = new T?[Capacity];
    private int _count;

    public T Rent()
    {
        lock (_lock)
        {
            if (_count > 0) return _operations[--_count]!;
        }

        return make(this);
    }

    public void Return(T operation)
    {
        lock (_lock)
        {
            if (_count < Capacity) _operations[_count++] = operation;
        }
    }
}
