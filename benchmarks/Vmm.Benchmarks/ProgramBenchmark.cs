using System.Diagnostics;
using System.Globalization;
using Vmm.Guests;

namespace Vmm.Benchmarks;

/// <summary>
/// The programs of benchmarks/guest on this host, on QEMU's translator and on Vmm's engines: the same kernel, initramfs and programs in one run,
/// host CPU time of N repeats less that of none, each after a first run that is not measured, the least of three times as others share the host, medians of runs,
/// ratios and geometric means by group, as a Markdown table.
/// </summary>
internal static class ProgramBenchmark
{
    // N makes the program take this long natively, so that start-up noise drops out even at native speed.
    private const double NativeSeconds = 0.1;

    // How often a program is measured in each run, one time after the other: the least counts. What a neighbour on the host's core takes away
    // comes and goes within seconds.
    private const int Times = 3;

    public static async Task RunAsync(string[] arguments)
    {
        var runs = Number(arguments, "runs=", 5);
        var engines = (arguments.FirstOrDefault(a => a.StartsWith("engines=", StringComparison.Ordinal))?["engines=".Length..].Split(',') ?? [Engine.Interpreter])
            .Select(n => new Engine(n)).ToList();
        if (Engine.HasQemu) engines.Insert(0, new Engine(Engine.Qemu));
        var only = arguments.FirstOrDefault(a => a.StartsWith("only=", StringComparison.Ordinal))?["only=".Length..].Split(',');
        var programs = GuestProgram.All.Where(p => only is null || only.Contains(p.Name)).ToList();

        var directory = Directory.CreateTempSubdirectory("vmm-bench-").FullName;
        try
        {
            GuestProgram.Compile(directory);
            var images = new GuestImages();
            var kernel = (await images.FindKernelAsync()).Path;
            var initrd = Path.Combine(directory, "initrd");
            var shell = new LinuxShellOptions { Command = GuestProcess.Script, Customize = i => programs.Aggregate(i, (all, p) => all.AddFileFrom("bench/" + p.Name, Path.Combine(directory, p.Name))) };
            await File.WriteAllBytesAsync(initrd, LinuxShell.BuildInitramfs((await images.FindBusyboxAsync()).Path, shell));

            var repeats = programs.ToDictionary(p => p.Name, p => Calibrate(Path.Combine(directory, p.Name)));
            var times = new Dictionary<(string Engine, string Program), List<double>>();
            var hung = 0;
            for (var run = 0; run < runs; run++)
            {
                foreach (var program in programs) Add(times, ("native", program.Name), Enumerable.Range(0, Times).Min(_ => Native(Path.Combine(directory, program.Name), repeats[program.Name])));
                foreach (var engine in engines)
                {
                    GuestProcess? guest = null;
                    for (var tries = 0; guest is null && tries < 4; tries++)
                    {
                        guest = await GuestProcess.StartAsync(engine, kernel, initrd);
                        if (guest is null) hung++;
                    }

                    using (guest ?? throw new TimeoutException($"{engine.Name} hung in every boot."))
                    {
                        Add(times, (engine.Name, "boot"), guest.BootSeconds);
                        Add(times, (engine.Name, "beyond"), guest.MebibytesBeyondRam);
                        foreach (var program in programs) Add(times, (engine.Name, program.Name), await guest.MeasureAsync(program.Name, repeats[program.Name], Times));
                    }
                }

                Console.Error.WriteLine($"run {run + 1} of {runs} done");
            }

            Report(programs, engines, times, repeats, runs, hung);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static void Report(List<GuestProgram> programs, List<Engine> engines, Dictionary<(string Engine, string Program), List<double>> times, Dictionary<string, long> repeats, int runs, int hung)
    {
        double T(string engine, string program) => Math.Max(1e-6, Median(times[(engine, program)]));
        var qemu = engines.FirstOrDefault(e => e.IsQemu)?.Name;
        var ours = engines.Where(e => !e.IsQemu).Select(e => e.Name).ToList();
        Console.WriteLine($"Median of {runs}; host CPU time of N repeats less that of none, the least of {Times} times in each run, after a first run{(hung > 0 ? $"; {hung} boots hung and were repeated" : "")}.\n");
        Console.WriteLine($"| program | native ms |{(qemu is null ? "" : " TCG / native |")}{string.Concat(ours.Select(o => $" {o} / native |{(qemu is null ? "" : $" {o} / TCG |")}"))}");
        Console.WriteLine($"|---|---|{(qemu is null ? "" : "---|")}{string.Concat(ours.Select(_ => qemu is null ? "---|" : "---|---|"))}");
        foreach (var p in programs) Row(p.Title, F(T("native", p.Name) * 1000), e => T(e, p.Name) / T("native", p.Name), e => T(e, p.Name) / T(qemu!, p.Name));
        foreach (var group in programs.Select(p => p.Group).Distinct().Append("all"))
        {
            var members = programs.Where(p => group == "all" || p.Group == group).ToList();
            if (members.Count > 1) Row($"**{group}, geometric mean**", "", e => Mean(members.Select(p => T(e, p.Name) / T("native", p.Name))), e => Mean(members.Select(p => T(e, p.Name) / T(qemu!, p.Name))));
        }

        foreach (var e in engines) Console.WriteLine($"\n{e.Name}: boot to the shell {T(e.Name, "boot"):F2} s of CPU time{(qemu is null || e.IsQemu ? "" : $", {T(e.Name, "boot") / T(qemu, "boot"):F2} of TCG's")}; {T(e.Name, "beyond"):F0} MiB resident beyond the guest's RAM.");

        void Row(string title, string native, Func<string, double> toNative, Func<string, double> toQemu)
        {
            Console.WriteLine($"| {title} | {native} |{(qemu is null ? "" : $" {F(toNative(qemu))} |")}{string.Concat(ours.Select(o => $" {F(toNative(o))} |{(qemu is null ? "" : $" {F(toQemu(o))} |")}"))}");
        }
    }

    private static string F(double value) => value.ToString(value >= 100 ? "F0" : value >= 10 ? "F1" : "F2", CultureInfo.InvariantCulture);

    private static double Mean(IEnumerable<double> ratios) => Math.Exp(ratios.Average(Math.Log));

    internal static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static void Add(Dictionary<(string, string), List<double>> times, (string, string) key, double value)
    {
        if (!times.TryGetValue(key, out var list)) times[key] = list = [];
        list.Add(value);
    }

    internal static int Number(string[] arguments, string name, int otherwise) =>
        arguments.FirstOrDefault(a => a.StartsWith(name, StringComparison.Ordinal)) is { } a ? int.Parse(a[name.Length..], CultureInfo.InvariantCulture) : otherwise;

    private static long Calibrate(string program)
    {
        for (long n = 1; ; n *= 4)
        {
            var seconds = Native(program, n);
            if (seconds > NativeSeconds / 4) return Math.Max(1, (long)Math.Round(n * NativeSeconds / seconds));
        }
    }

    private static double Native(string program, long repeats)
    {
        var start = ChildTime.Seconds;
        Run(program, 0);
        var between = ChildTime.Seconds;
        Run(program, repeats);
        return ChildTime.Seconds - between - (between - start);
    }

    private static void Run(string program, long repeats)
    {
        using var process = Process.Start(new ProcessStartInfo(program, [repeats.ToString(CultureInfo.InvariantCulture)]) { RedirectStandardOutput = true })!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0) throw new InvalidDataException($"{program} failed on the host: {output}");
    }
}
