using System.Diagnostics;

namespace Vmm.Devices.Tests.Support;

/// <summary>ACPICA's compiler and disassembler, as a judge of our tables. Debian's package is fetched where the tests run as root.</summary>
internal static class Iasl
{
    private static readonly Lazy<string?> Missing = new(Find);

    /// <summary>Why it cannot be used; null where it can.</summary>
    public static string? WhyNot => Missing.Value;

    /// <summary>Runs it in a directory and returns everything it said, with its exit code.</summary>
    public static (int Code, string Output) Run(string directory, params string[] arguments) => Start("iasl", directory, arguments);

    private static string? Find()
    {
        if (TryStart("iasl", "-v")) return null;
        if (OperatingSystem.IsLinux() && Environment.UserName == "root")
        {
            TryStart("apt-get", "install", "-y", "--no-install-recommends", "acpica-tools");
            if (TryStart("iasl", "-v")) return null;
        }

        return "There is no iasl on this host and it could not be installed; the package is called acpica-tools.";
    }

    private static bool TryStart(string program, params string[] arguments)
    {
        try
        {
            return Start(program, Path.GetTempPath(), arguments).Code == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }

    private static (int Code, string Output) Start(string program, string directory, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = directory, RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.Result);
    }
}
