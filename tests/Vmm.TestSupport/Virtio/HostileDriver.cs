using System.Globalization;
using FsCheck;
using FsCheck.Fluent;
using Vmm.Devices.Virtio;

namespace Vmm.TestSupport.Virtio;

/// <summary>
/// Random sequences of what a hostile driver does, against any virtio device: <c>HostileDriver.Attack(() => new MyDevice())</c>. A failure is
/// shrunk to the fewest steps that still show it.
/// </summary>
public static class HostileDriver
{
    /// <summary>The environment variable that says how many sequences a device gets; without it, 100 000 where CI=true, else 4 000.</summary>
    public const string CountVariable = "VMM_HOSTILE_SEQUENCES";

    private const int CountInCi = 100_000, DefaultCount = 4000, LongestSequence = 40;

    /// <summary>Attacks a device on both transports and with both ring layouts.</summary>
    /// <param name="make">Makes the device anew.</param>
    /// <param name="sequences">How many sequences in all; null for what the environment says.</param>
    /// <param name="settle">Called after each reset, for a device that holds requests until a test says otherwise.</param>
    public static void Attack<T>(Func<T> make, int? sequences = null, Action<T>? settle = null) where T : VirtioDevice
    {
        ArgumentNullException.ThrowIfNull(make);
        var usual = Environment.GetEnvironmentVariable("CI") == "true" ? CountInCi : DefaultCount;
        var count = sequences ?? (int.TryParse(Environment.GetEnvironmentVariable(CountVariable), CultureInfo.InvariantCulture, out var asked) ? asked : usual);
        foreach (var transport in Enum.GetValues<VirtioTransportKind>())
        {
            foreach (var packed in (bool[])[false, true]) Attack(make, new VirtioOptions { Transport = transport, Packed = packed, QueueSize = 256 }, Math.Max(count / 4, 1), settle);
        }
    }

    /// <summary>Attacks a device in one arrangement.</summary>
    /// <param name="make">Makes the device anew.</param>
    /// <param name="options">The arrangement.</param>
    /// <param name="sequences">How many sequences.</param>
    /// <param name="settle">Called after each reset.</param>
    public static void Attack<T>(Func<T> make, VirtioOptions options, int sequences, Action<T>? settle = null) where T : VirtioDevice
    {
        ArgumentNullException.ThrowIfNull(make);
        var steps = Gen.Choose(0, int.MaxValue).Select(HostileStep.FromSeed);
        var sequence = Gen.Choose(1, LongestSequence).SelectMany(length => steps.ArrayOf(length));
        var property = Prop.ForAll(Arb.From(sequence, Shorter), played =>
        {
            var device = make();
            using var run = new HostileRun(device, options, settle is null ? null : () => settle(device));
            run.Play(played);
            return true;
        });
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(sequences), property);
    }

    private static IEnumerable<HostileStep[]> Shorter(HostileStep[] steps)
    {
        for (var part = steps.Length / 2; part >= 1; part /= 2)
        {
            for (var from = 0; from + part <= steps.Length && steps.Length > 1; from += part) yield return [.. steps[..from], .. steps[(from + part)..]];
        }
    }
}
