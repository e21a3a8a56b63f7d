using System.Security.Cryptography;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Where RDRAND and RDSEED take their numbers from.</summary>
internal sealed partial class Vcpu
{
    /// <summary>Gives 64 random bits. The host's cryptographic generator unless a machine that must be reproducible sets another.</summary>
    public Func<ulong> Entropy { get; set; } = HostEntropy;

    private static ulong HostEntropy()
    {
        Span<byte> bytes = stackalloc byte[8];
        RandomNumberGenerator.Fill(bytes);
        return BitConverter.ToUInt64(bytes);
    }
}
