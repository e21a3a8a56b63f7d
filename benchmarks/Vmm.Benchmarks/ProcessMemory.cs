// proc_pid_smaps(5).
using System.Globalization;
using System.Text.RegularExpressions;

namespace Vmm.Benchmarks;

/// <summary>Resident memory of a process, told apart from its guest's RAM.</summary>
internal static partial class ProcessMemory
{
    /// <summary>
    /// Resident MiB of all mappings but the guest's RAM: of the mappings that are as large as it, or little larger, the one with most resident.
    /// Memory that a process has mapped twice, as those do that translate, is there once; of a memfd, which no other has, Pss says so.
    /// </summary>
    public static double MebibytesBeyond(int pid, int ramMebibytes)
    {
        long size = 0, all = 0, ram = 0;
        var own = false;
        foreach (var line in File.ReadLines($"/proc/{pid}/smaps"))
        {
            var match = Field().Match(line);
            if (!match.Success)
            {
                if (Mapping().IsMatch(line)) own = line.Contains("/memfd:", StringComparison.Ordinal);
                continue;
            }

            var kib = long.Parse(match.Groups[2].ValueSpan, CultureInfo.InvariantCulture);
            if (match.Groups[1].ValueSpan is "Size") size = kib;
            else if (match.Groups[1].ValueSpan is "Pss") all += own ? kib : 0;
            else
            {
                all += own ? 0 : kib;
                if (size >= ramMebibytes * 1024L && size < (ramMebibytes + 64) * 1024L) ram = Math.Max(ram, kib);
            }
        }

        if (ram == 0) throw new InvalidOperationException($"The guest's {ramMebibytes} MiB of RAM are not among the mappings of process {pid}.");
        return (all - ram) / 1024.0;
    }

    [GeneratedRegex(@"^(Size|Rss|Pss): +(\d+) kB")]
    private static partial Regex Field();

    [GeneratedRegex("^[0-9a-f]+-[0-9a-f]+ ")]
    private static partial Regex Mapping();
}
