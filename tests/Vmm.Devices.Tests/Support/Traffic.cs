using Vmm.Core.Buses;
using Vmm.Core.Devices;

namespace Vmm.Devices.Tests.Support;

/// <summary>Random register traffic against a device: it must survive, and its saved state must be all of what a guest can see.</summary>
internal static class Traffic
{
    /// <summary>A device with its windows, made anew for each run on a bench of its own.</summary>
    public sealed record Subject(IDevice Device, params (IIoHandler Handler, uint Length)[] Windows);

    private const int Operations = 300;

    /// <summary>Runs traffic of one seed, then loads its state into a second device and compares what both do.</summary>
    public static void Run(int seed, Func<Bench, Subject> make, Action<Random, IDevice>? outside = null)
    {
        var bench = new Bench();
        var subject = make(bench);
        subject.Device.Reset();
        Step(bench, subject, new Random(seed), Operations, outside);

        var twinBench = new Bench();
        var twin = make(twinBench);
        twin.Device.Reset();
        twinBench.Clock.Advance(bench.Clock.Now);
        var saved = FieldStore.Save(subject.Device);
        FieldStore.Load(twin.Device, saved);
        Same(saved, FieldStore.Save(twin.Device));
        Assert.Equal(bench.Wire.Levels, twinBench.Wire.Levels);

        var first = Step(bench, subject, new Random(seed + 1), Operations, outside);
        var second = Step(twinBench, twin, new Random(seed + 1), Operations, outside);
        Assert.Equal(first, second);
        Same(FieldStore.Save(subject.Device), FieldStore.Save(twin.Device));
    }

    /// <summary>Loads random bytes as state: a snapshot is untrusted, the device must stay usable.</summary>
    public static void RunOnGarbage(int seed, Func<Bench, Subject> make)
    {
        var bench = new Bench();
        var subject = make(bench);
        subject.Device.Reset();
        var random = new Random(seed);
        var fields = FieldStore.Save(subject.Device);
        foreach (var bytes in fields.Values) random.NextBytes(bytes);
        FieldStore.Load(subject.Device, fields);
        Step(bench, subject, random, Operations, null);
    }

    private static List<ulong> Step(Bench bench, Subject subject, Random random, int count, Action<Random, IDevice>? outside)
    {
        List<ulong> seen = [];
        for (var i = 0; i < count; i++)
        {
            var (handler, length) = subject.Windows[random.Next(subject.Windows.Length)];
            var size = 1 << random.Next(4);
            while ((uint)size > length) size >>= 1;
            var offset = (uint)random.NextInt64(length - (uint)size + 1);
            // Aligned bytes are what drivers do; the rest is what an attacker does.
            if (random.Next(3) != 0) (size, offset) = (1, (uint)random.NextInt64(Math.Min(length, 64)));
            switch (random.Next(8))
            {
                case 0:
                    var time = random.Next(4) switch { 0 => random.NextInt64(1000), 1 => random.NextInt64(1_000_000), 2 => random.NextInt64(100_000_000), _ => 0 };
                    bench.Pass(time);
                    break;
                case 1 when outside is not null:
                    outside(random, subject.Device);
                    break;
                case < 5:
                    lock (subject.Device) seen.Add(handler.Read(offset, size) & (size == 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1));
                    break;
                default:
                    var value = (ulong)random.NextInt64() & (size == 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1);
                    lock (subject.Device) handler.Write(offset, size, value);
                    break;
            }

            foreach (var level in bench.Wire.Levels) seen.Add(level ? 1UL : 0);
        }

        return seen;
    }

    private static void Same(Dictionary<string, byte[]> expected, Dictionary<string, byte[]> actual)
    {
        Assert.Equal(expected.Keys, actual.Keys);
        foreach (var (tag, bytes) in expected) Assert.True(bytes.AsSpan().SequenceEqual(actual[tag]), $"Tag {tag}: {Convert.ToHexString(bytes)} became {Convert.ToHexString(actual[tag])}.");
    }
}
