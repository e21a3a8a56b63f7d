using System.Diagnostics;
using System.Globalization;

namespace Vmm.Benchmarks;

/// <summary>The C program of benchmarks/kvm, compiled when this begins, and asked line by line.</summary>
internal sealed class KvmReference : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("vmm-kvm-");
    private readonly Process _process;

    public KvmReference()
    {
        var (sources, image, program) = (SourceTree.Folder("kvm"), Path.Combine(_folder.FullName, "guest"), Path.Combine(_folder.FullName, "kvm"));
        Compile("-nostdlib", "-static", "-Wl,-Ttext=0x10000,--oformat=binary,--build-id=none,-e,_start", "-o", image, Path.Combine(sources, "guest.S"));
        Compile("-O2", "-Wall", "-o", program, Path.Combine(sources, "kvm.c"), "-lpthread");
        Image = File.ReadAllBytes(image);
        _process = Process.Start(new ProcessStartInfo(program, [image]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
    }

    /// <summary>The guest, for address 0x10000.</summary>
    public byte[] Image { get; }

    /// <summary>One command, and the numbers that it answers.</summary>
    public double[] Ask(string command, int mode, int count)
    {
        _process.StandardInput.WriteLine($"{command} {mode} {count}");
        _process.StandardInput.Flush();
        var line = _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException($"The C program ended at '{command} {mode} {count}'.");
        return [.. line.Split(' ').Select(n => double.Parse(n, CultureInfo.InvariantCulture))];
    }

    public void Dispose()
    {
        _process.StandardInput.Close();
        _process.WaitForExit();
        _process.Dispose();
        _folder.Delete(recursive: true);
    }

    private static void Compile(params string[] arguments)
    {
        using var gcc = Process.Start("gcc", arguments);
        gcc.WaitForExit();
        if (gcc.ExitCode != 0) throw new InvalidOperationException($"gcc could not compile {arguments[^1]}.");
    }
}
