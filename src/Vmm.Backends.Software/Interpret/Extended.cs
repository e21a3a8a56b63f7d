using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Interpret;

/// <summary>The ten bytes of an 80-bit operand in memory.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct Extended
{
    public ulong Significand;
    public ushort SignExponent;
}
