using System.Security.Cryptography;
using Vmm.Backends.Software.Interop;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Where RDRAND and RDSEED take their numbers from.</summary>
internal sealed partial class Vcpu
{
    /// <summary>Gives 64 random bits. The host's cryptographic generator unless a machine that must be reproducible sets another.</summary>
    public Func<ulong> Entropy { get; set; } = HostEntropy;

    // Counted time promises the same run each time: a fixed sequence (SplitMix64) from the vCPU's index.
    private static Func<ulong> Reproducible(int index)
    {
        var state = (ulong)index + 1;
        return () =>
        {
            var z = state += 0x9E3779B97F4A7C15;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        };
    }

    private static ulong HostEntropy()
    {
        // The system's own generator needs no OpenSSL, which takes 5 MiB and longer to load than a vCPU to start.
        if (OperatingSystem.IsLinux() && LinuxRandom.TryGet(out var random)) return random;
        Span<byte> bytes = stackalloc byte[8];
        RandomNumberGenerator.Fill(bytes);
        return BitConverter.ToUInt64(bytes);
    }
}
