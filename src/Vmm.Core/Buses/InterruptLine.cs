namespace Vmm.Core.Buses;

/// <summary>
/// The wire from one device to one interrupt input. The device knows neither number nor controller. Setting the level it
/// already has costs nothing. Set it under the device's lock.
/// </summary>
/// <param name="sink">The controller or router at the other end.</param>
/// <param name="input">Its input.</param>
public sealed class InterruptLine(IInterruptSink sink, int input)
{
    private bool _level;

    /// <summary>A line that leads nowhere, for a device that is used without an interrupt.</summary>
    public static InterruptLine Unconnected => new(NoSink.Instance, 0);

    /// <summary>The level the device drives: true is asserted.</summary>
    public bool Level
    {
        get => _level;
        set
        {
            if (_level == value) return;
            _level = value;
            sink.SetInput(input, value);
        }
    }

    /// <summary>Asserts and releases: an edge.</summary>
    public void Pulse()
    {
        Level = true;
        Level = false;
    }

    private sealed class NoSink : IInterruptSink
    {
        public static readonly NoSink Instance = new();

        public void SetInput(int input, bool level) { }
    }
}
