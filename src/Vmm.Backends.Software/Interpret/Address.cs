using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>A form of plain 64-bit address (<see cref="AddressKind.Flat64"/>), as a type, so that each gets code of its own.</summary>
internal interface IAddress
{
    static abstract ulong Linear(Vcpu cpu, ref Op op);
}

/// <summary>The two forms worth telling apart.</summary>
internal static class Address
{
    /// <summary>Base (or RIP, or nothing) and displacement.</summary>
    internal readonly struct Direct : IAddress
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ulong Linear(Vcpu cpu, ref Op op) => cpu.Reg<ulong>(op.Base) + op.Disp;
    }

    /// <summary>With a scaled index.</summary>
    internal readonly struct Indexed : IAddress
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ulong Linear(Vcpu cpu, ref Op op) => cpu.Offset(ref op);
    }
}
