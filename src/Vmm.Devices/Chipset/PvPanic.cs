// QEMU docs/specs/pvpanic.rst: "pvpanic device", ISA variant at port 0x505.
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;

namespace Vmm.Devices.Chipset;

/// <summary>The port by which a guest's kernel reports that it panicked, or that it is loading a crash kernel.</summary>
/// <param name="panicked">Ends the machine.</param>
public sealed class PvPanic(Action panicked) : IDevice, IIoHandler
{
    /// <summary>The port that guests look for without ACPI.</summary>
    public const ushort DefaultPort = 0x505;

    private const byte Panicked = 0x01, CrashLoaded = 0x02;

    private byte _reported;

    /// <summary>Whether the guest's kernel said that it is loading a crash kernel, and so handles its panic itself.</summary>
    public bool HasCrashLoaded => (Volatile.Read(ref _reported) & CrashLoaded) != 0;

    /// <inheritdoc/>
    public void Reset() => _reported = 0;

    /// <inheritdoc/>
    public ulong Read(uint offset, int size) => Panicked | CrashLoaded;

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value)
    {
        Volatile.Write(ref _reported, (byte)(_reported | (byte)value & (Panicked | CrashLoaded)));
        if ((value & Panicked) != 0) panicked();
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor) => visitor.Field(1, ref _reported);
}
