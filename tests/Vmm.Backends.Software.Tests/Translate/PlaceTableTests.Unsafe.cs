using FsCheck.Xunit;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Translate;
using Xunit;

namespace Vmm.Backends.Software.Tests.Translate;

/// <summary>The table of translations by address against a list that is looked through from its end.</summary>
public unsafe class PlaceTableTests
{
    [Property(MaxTest = 60)]
    public void Table_AfterAnyChanges_FindsWhatAListFinds(int seed)
    {
        var random = new Random(seed);
        using var sites = new SiteTable();
        var table = new PlaceTable(sites);
        var list = new List<Translation>();
        // Few addresses, blocks and views, so that many are alike; or many, so that it grows.
        var addresses = random.Next(2) == 0 ? 12 : 100_000;
        for (var i = 0; i < 12_000; i++)
        {
            // It fills, and is emptied again.
            var adds = i < 8_000 ? 3 : 1;
            if (random.Next(4) < adds)
            {
                var added = new Translation { Rip = Rip(), Block = (Block*)Block(), View = random.Next(3) };
                sites.Number(added);
                table.Add(added);
                list.Add(added);
            }
            else if (list.Count > 0)
            {
                var at = random.Next(list.Count);
                table.Remove(list[at]);
                sites.Forget(list[at]);
                list.RemoveAt(at);
            }

            var (rip, block, view) = (Rip(), Block(), random.Next(3));
            if (list.Count > 0 && random.Next(2) == 0)
            {
                var known = list[random.Next(list.Count)];
                (rip, block, view) = (known.Rip, (nint)known.Block, known.View);
            }

            if (addresses < 100 || i % 16 == 0) Assert.Same(list.FindLast(t => t.Rip == rip && (nint)t.Block == block && t.View == view), table.Find((Block*)block, rip, view));
        }

        table.Clear();
        Assert.All(list, t => Assert.Null(table.Find(t.Block, t.Rip, t.View)));

        ulong Rip() => 0x7F00_0000_0000 + (ulong)random.Next(addresses) * 4096;

        // SAFETY: a pointer that is compared, and never followed.
        nint Block() => 8 * (1 + random.Next(3));
    }
}
