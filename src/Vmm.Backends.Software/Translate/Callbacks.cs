using System.Runtime.InteropServices;
using Vmm.Backends.Software.Cpu;

namespace Vmm.Backends.Software.Translate;

/// <summary>What translated code calls. All guest state is in memory meanwhile; zero goes on, anything else is an <see cref="ExitKind"/>.</summary>
internal static class Callbacks
{
    /// <summary>An access that the TLB did not cover.</summary>
    [UnmanagedCallersOnly]
    public static int Access(nint owner) => (int)Processor(owner).ServeAccess();

    /// <summary>An address outside of a window, which is to be opened there.</summary>
    [UnmanagedCallersOnly]
    public static int Window(nint owner) => (int)Processor(owner).ServeWindow();

    /// <summary>An instruction that the interpreter does.</summary>
    [UnmanagedCallersOnly]
    public static int Operation(nint owner) => (int)Processor(owner).ServeOperation();

    /// <summary>A block with x87 instructions begins while their registers are in the state.</summary>
    [UnmanagedCallersOnly]
    public static int X87(nint owner) => (int)Processor(owner).ServeX87();

    /// <summary>RDTSC. Only the registers that a call may change are saved, and the guest's vector registers are in the state.</summary>
    [UnmanagedCallersOnly]
    public static ulong Time(nint owner) => Processor(owner).ReadTime();

    private static Vcpu Processor(nint owner) => (Vcpu)GCHandle.FromIntPtr(owner).Target!;
}
