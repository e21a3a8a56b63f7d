using Vmm.Devices.Storage;

namespace Vmm.Cli.Images;

/// <summary>Formats by the names that people give them.</summary>
internal static class DiskNames
{
    public static DiskFormat? Parse(string text) => text switch
    {
        "raw" => DiskFormat.Raw,
        "qcow2" => DiskFormat.Qcow2,
        "vhdx" => DiskFormat.Vhdx,
        "vmdk" => DiskFormat.Vmdk,
        _ => null,
    };
}
