using System.Diagnostics;
using System.Globalization;

namespace Vmm.Benchmarks;

/// <summary>A C program, compiled when this begins, and asked line by line.</summary>
internal sealed class CProgram : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("vmm-c-");
    private readonly Process _process;

    /// <param name="source">Its file.</param>
    /// <param name="arguments">What it is started with.</param>
    public CProgram(string source, params string[] arguments)
    {
        var program = Path.Combine(_folder.FullName, "program");
        Compile("-O2", "-Wall", "-o", program, source, "-lpthread");
        _process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
    }

    /// <summary>Runs the compiler.</summary>
    public static void Compile(params string[] arguments)
    {
        using var gcc = Process.Start("gcc", arguments);
        gcc.WaitForExit();
        if (gcc.ExitCode != 0) throw new InvalidOperationException($"gcc could not compile {arguments[^1]}.");
    }

    /// <summary>One line, and the numbers that it answers.</summary>
    public double[] Ask(string command)
    {
        _process.StandardInput.WriteLine(command);
        _process.StandardInput.Flush();
        var line = _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException($"The C program ended at '{command}'.");
        return [.. line.Split(' ').Select(n => double.Parse(n, CultureInfo.InvariantCulture))];
    }

    public void Dispose()
    {
        _process.StandardInput.Close();
        _process.WaitForExit();
        _process.Dispose();
        _folder.Delete(recursive: true);
    }
}
