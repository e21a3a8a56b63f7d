using System.Diagnostics;

namespace Vmm.Benchmarks;

/// <summary>One program of benchmarks/guest: its name, its group in the tables, and what it does.</summary>
internal sealed record GuestProgram(string Name, string Group, string Title)
{
    public static readonly IReadOnlyList<GuestProgram> All =
    [
        new("sort", "integer", "integer sort"),
        new("mix", "integer", "CoreMark-like mix"),
        new("sha256", "integer", "SHA-256"),
        new("deflate", "integer", "deflate-like packing"),
        new("indirect", "integer", "indirect calls"),
        new("callret", "integer", "call and return"),
        new("copywords", "memory", "copy by words"),
        new("repmovsb", "memory", "copy by `rep movsb`"),
        new("congruent", "memory", "copy of congruent buffers"),
        new("chase", "memory", "pointer chase, 8 192 pages"),
        new("faults", "kernel", "page faults"),
        new("syscalls", "kernel", "system calls"),
        new("forkexec", "kernel", "fork and exec"),
        new("pingpong", "kernel", "pipe ping-pong"),
        new("nbody", "floating point and SIMD", "SSE2 n-body"),
        new("x87", "floating point and SIMD", "x87"),
        new("simd", "floating point and SIMD", "SSE2 integer"),
        new("selfmod", "self-modifying", "self-modifying loop"),
    ];

    /// <summary>Compiles all programs, statically, into a directory.</summary>
    public static void Compile(string directory)
    {
        var sources = SourceTree.Folder("guest");
        foreach (var program in All)
        {
            using var gcc = Process.Start("gcc", ["-O2", "-march=x86-64", "-fno-math-errno", "-static", "-o", Path.Combine(directory, program.Name), Path.Combine(sources, program.Name + ".c"), "-lm"]);
            gcc.WaitForExit();
            if (gcc.ExitCode != 0) throw new InvalidOperationException($"gcc could not compile {program.Name}.c.");
        }
    }
}
