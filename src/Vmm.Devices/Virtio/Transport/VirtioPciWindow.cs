using Vmm.Core.Buses;

namespace Vmm.Devices.Virtio.Transport;

/// <summary>A structure of BAR 0 that is one or two functions.</summary>
internal sealed class VirtioPciWindow(Func<uint, int, ulong>? read, Action<uint, int, ulong>? write) : IIoHandler
{
    public ulong Read(uint offset, int size) => read?.Invoke(offset, size) ?? 0;

    public void Write(uint offset, int size, ulong value) => write?.Invoke(offset, size, value);
}
