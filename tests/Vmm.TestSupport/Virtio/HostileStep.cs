namespace Vmm.TestSupport.Virtio;

/// <summary>One thing that a hostile driver does: what, and three numbers whose meaning depends on it. Made from a number, so that it can be made again.</summary>
public readonly record struct HostileStep(HostileAction Action, ulong A, ulong B, ulong C)
{
    // What a good driver does comes more often: most of a device's code is behind it.
    private static readonly HostileAction[] Actions =
    [
        .. Enum.GetValues<HostileAction>(), HostileAction.GoodRequest, HostileAction.GoodRequest, HostileAction.OddRequest, HostileAction.OddRequest, HostileAction.OddRequest,
        HostileAction.Notify, HostileAction.WriteDescriptor, HostileAction.WriteDescriptor, HostileAction.OfferHead, HostileAction.Initialize,
    ];

    public static HostileStep FromSeed(int seed)
    {
        var state = (ulong)(uint)seed;
        var action = Actions[Next(ref state) % (ulong)Actions.Length];
        return new HostileStep(action, Next(ref state), Next(ref state), Next(ref state));
    }

    public override string ToString() => $"{Action}(0x{A:x}, 0x{B:x}, 0x{C:x})";

    /// <summary>The next number that follows from one (SplitMix64).</summary>
    public static ulong Next(ref ulong state)
    {
        var z = state += 0x9E3779B97F4A7C15;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
        z = (z ^ z >> 27) * 0x94D049BB133111EB;
        return z ^ z >> 31;
    }
}
