using Vmm.Backends.Software.Translate;
using Xunit;

namespace Vmm.Backends.Software.Tests.Translate;

/// <summary>What is said of a site is found again by its number, whatever lies beside it.</summary>
public unsafe class SiteTableTests
{
    [Fact]
    public void Sites_ShortAndLong_AreFoundByTheirNumbers()
    {
        using var table = new SiteTable();
        for (var round = 0; round < 2; round++)
        {
            var translations = Enumerable.Range(0, 3).Select(i => new Translation { Rip = (ulong)i, Block = null, View = i }).ToArray();
            List<(int Number, Site Site)> all = [];
            for (var i = 0; i < 40_000; i++)
            {
                var site = new Site { Translation = translations[i % 3], Index = i % 48 };
                site = (i % 7) switch
                {
                    0 => site with { Target = 0xFFFF_FFFF_8000_0000UL + (ulong)i, Patch = i },
                    1 => site with { Target = 0, Backward = true, Patch = i },
                    2 => site with { Single = (nint)(0x7F00_0000_0000 + i) },
                    3 or 4 => site with { Size = 32, Write = i % 2 == 0, Alignment = 15 },
                    _ => site,
                };
                var number = table.Add(site);
                table[number].Stub = i;
                if (site.IsLong) table[number].NextIncoming = ~i;
                all.Add((number, site));
            }

            for (var i = 0; i < all.Count; i++)
            {
                var (number, site) = all[i];
                ref var entry = ref table[number];
                Assert.Same(site.Translation, table.TranslationOf(entry));
                Assert.Equal((site.Index, site.Size, site.Write, site.Alignment, site.Backward), (entry.Index, entry.Size, entry.Write, entry.Alignment, entry.Backward));
                if (site.IsLong) Assert.Equal((i, ~i, site.Patch), (entry.Stub, entry.NextIncoming, entry.Patch));
                if (site.Single != 0) Assert.Equal(site.Single, entry.Single);
                else if (site.IsLong) Assert.Equal(site.Target, entry.Target);
            }

            Assert.Equal(translations, table.Translations.ToArray());
            table.Clear();
        }
    }

    [Fact]
    public void Region_ThatBeginsAnew_HasItsSitesForgottenAndNoOthers()
    {
        using var table = new SiteTable();
        var translations = Enumerable.Range(0, 4).Select(i => new Translation { Rip = (ulong)i, Block = null, View = 0 }).ToArray();
        List<int> numbers = [];
        for (var i = 0; i < 80_000; i++)
        {
            // Region 1 four times, the others once.
            if (i % 10_000 == 0) table.Begin(i / 10_000 % 2 == 0 ? 1 : i / 20_000 + 2);
            numbers.Add(table.Add(new Site { Translation = translations[i / 20_000], Index = i % 48, Target = (ulong)i + 1 }));
        }

        for (var i = 0; i < 80_000; i++)
        {
            if (i / 10_000 % 2 == 0 && i < 60_000) continue;
            Assert.Equal(i / 10_000 % 2 == 0 ? 1 : i / 20_000 + 2, table.RegionOf(numbers[i]));
            Assert.Equal((i % 48, (ulong)i + 1), (table[numbers[i]].Index, table[numbers[i]].Target));
        }

        // What was forgotten is used again.
        Assert.InRange(numbers.Max(), 0, 60_000 * 4);
        table.Forget(translations[1]);
        var other = new Translation { Rip = 9, Block = null, View = 0 };
        Assert.Equal(translations[1].Number, table.Number(other));
    }
}
