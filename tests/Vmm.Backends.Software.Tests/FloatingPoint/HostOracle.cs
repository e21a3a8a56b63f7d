using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Xunit;

namespace Vmm.Backends.Software.Tests.FloatingPoint;

/// <summary>Runs single floating-point instructions on the host CPU, in a child process compiled from HostOracle.c.</summary>
internal sealed class HostOracle : IDisposable
{
    private static readonly Lazy<(string? Path, string? Why)> Program = new(Compile);
    private readonly Process _process;

    private HostOracle(string path) =>
        _process = Process.Start(new ProcessStartInfo(path) { RedirectStandardInput = true, RedirectStandardOutput = true })!;

    /// <summary>Starts the oracle, or skips the test.</summary>
    public static HostOracle StartOrSkip()
    {
        var (path, why) = Program.Value;
        Assert.SkipWhen(path is null, why ?? "");
        return new(path!);
    }

    public Answer[] Ask(int operation, ReadOnlySpan<Request> requests)
    {
        var input = _process.StandardInput.BaseStream;
        Span<uint> header = [(uint)operation, (uint)requests.Length];
        input.Write(MemoryMarshal.AsBytes(header));
        input.Write(MemoryMarshal.AsBytes(requests));
        input.Flush();
        var answers = new Answer[requests.Length];
        _process.StandardOutput.BaseStream.ReadExactly(MemoryMarshal.AsBytes(answers.AsSpan()));
        return answers;
    }

    public void Dispose()
    {
        _process.StandardInput.Close();
        _process.WaitForExit();
        _process.Dispose();
    }

    private static (string?, string?) Compile()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64 || !OperatingSystem.IsLinux() || !Fma.IsSupported)
        {
            return (null, "The oracle needs an x86-64 Linux host with AVX2, FMA and F16C.");
        }
        var directory = Directory.CreateTempSubdirectory("vmm-fp-oracle-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(directory, recursive: true);
        var source = Path.Combine(directory, "oracle.c");
        var program = Path.Combine(directory, "oracle");
        using (var resource = typeof(HostOracle).Assembly.GetManifestResourceStream("HostOracle.c")!)
        using (var file = File.Create(source))
        {
            resource.CopyTo(file);
        }
        try
        {
            using var gcc = Process.Start(new ProcessStartInfo("gcc", ["-O1", "-o", program, source]) { RedirectStandardError = true })!;
            var errors = gcc.StandardError.ReadToEnd();
            gcc.WaitForExit();
            return gcc.ExitCode == 0 ? (program, null) : throw new InvalidOperationException("gcc rejects HostOracle.c: " + errors);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return (null, "gcc is not installed, so there is no host oracle to compare with.");
        }
    }

    /// <summary>struct request of HostOracle.c.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Request
    {
        public ulong A, AHigh, B, BHigh, C, CHigh;
        public uint Control, Immediate;
        public ulong Pad;
    }

    /// <summary>struct answer of HostOracle.c.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Answer
    {
        public ulong First, FirstHigh, Second, SecondHigh;
        public uint Flags, Faulted;
        public ulong Pad;
    }
}
