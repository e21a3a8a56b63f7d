using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Devices.Virtio;

/// <summary>A <see cref="VirtioDevice"/> whose configuration is a structure.</summary>
/// <typeparam name="TConfig">The structure: blittable, without padding, little-endian as the host is.</typeparam>
/// <param name="deviceId">Its id.</param>
/// <param name="queueCount">How many queues it has.</param>
public abstract class VirtioDevice<TConfig>(ushort deviceId, int queueCount) : VirtioDevice(deviceId, queueCount) where TConfig : unmanaged
{
    /// <inheritdoc/>
    public override int ConfigLength => Unsafe.SizeOf<TConfig>();

    /// <summary>The configuration as it is now.</summary>
    protected abstract TConfig Config { get; }

    /// <inheritdoc/>
    protected sealed override void ReadConfig(Span<byte> config) => MemoryMarshal.Write(config, Config);
}
