using System.Diagnostics;

namespace Vmm.Storage.Tests.Support;

/// <summary>The program qemu-img, the oracle of disk formats.</summary>
internal static class QemuImg
{
    public static bool IsThere { get; } = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(d => File.Exists(Path.Combine(d, "qemu-img")));

    public static void Require() => Assert.SkipUnless(IsThere, "qemu-img is not there: apt-get install qemu-utils");

    public static (int Code, string Output) Try(params string[] arguments) => TryRun("qemu-img", arguments);

    public static string Run(params string[] arguments)
    {
        var (code, output) = Try(arguments);
        Assert.True(code == 0, $"qemu-img {string.Join(' ', arguments)} gave {code}:\n{output}");
        return output;
    }

    /// <summary>No errors; leaks only where they are allowed.</summary>
    public static void Check(string file, bool allowLeaks = false)
    {
        var (code, output) = Try("check", "-f", "qcow2", file);
        Assert.True(code == 0 || (allowLeaks && code == 3), $"qemu-img check gave {code}:\n{output}");
    }

    public static (int Code, string Output) TryRun(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in arguments) start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + error.Result);
    }
}
