using Vmm.Core.Buses;

namespace Vmm.Devices.Tests.Support;

/// <summary>The far end of interrupt lines: levels and counted rises of each input.</summary>
internal sealed class Wire : IInterruptSink
{
    public bool[] Levels { get; } = new bool[32];

    public int[] Rises { get; } = new int[32];

    public Action<int, bool>? Changed { get; set; }

    public InterruptLine Line(int input = 0) => new(this, input);

    public void SetInput(int input, bool level)
    {
        Assert.NotEqual(level, Levels[input]);
        Levels[input] = level;
        if (level) Rises[input]++;
        Changed?.Invoke(input, level);
    }
}
