using Vmm.Devices.Pci;

namespace Vmm.Devices.Tests.Pci;

/// <summary>Finds registers as a driver does: by walking the capabilities.</summary>
internal static class PciFunctionExtensions
{
    public static int MsiXControl(this PciFunction function) => Find(function, 0x11) + 2;

    public static int MsiControl(this PciFunction function) => Find(function, 0x05) + 2;

    private static int Find(PciFunction function, byte id)
    {
        lock (function)
        {
            for (var at = (int)function.ReadConfig(0x34, 1); at != 0; at = (int)function.ReadConfig(at + 1, 1))
            {
                if (function.ReadConfig(at, 1) == id) return at;
            }
        }

        throw new InvalidOperationException($"No capability 0x{id:x}.");
    }
}
