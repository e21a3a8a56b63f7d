using System.Runtime.ExceptionServices;

namespace Vmm.Backends.Conformance.Guests;

/// <summary>Work on a thread of its own, whose end is waited for: a vCPU beside the test.</summary>
/// <typeparam name="T">What comes of it.</typeparam>
public sealed class Background<T>
{
    private readonly Thread _thread;
    private ExceptionDispatchInfo? _error;
    private T? _result;

    /// <summary>Starts it.</summary>
    public Background(Func<T> work)
    {
        _thread = new Thread(() =>
        {
            try
            {
                _result = work();
            }
            catch (Exception e)
            {
                _error = ExceptionDispatchInfo.Capture(e);
            }
        }) { IsBackground = true };
        _thread.Start();
    }

    /// <summary>Whether it has ended.</summary>
    public bool IsCompleted => !_thread.IsAlive;

    /// <summary>Waits for the end.</summary>
    public T Result
    {
        get
        {
            _thread.Join();
            _error?.Throw();
            return _result!;
        }
    }
}
