using Vmm.Backends.Kvm.Interop;

namespace Vmm.Backends.Kvm;

/// <summary>An interrupt that an eventfd raises in the kernel, without a system call of ours for each. Any thread.</summary>
public sealed class KvmInterrupt : IDisposable
{
    private readonly KvmPartition _partition;
    private readonly KvmFile _event;
    private readonly int _gsi;

    internal KvmInterrupt(KvmPartition partition, int gsi, KvmFile file) => (_partition, _gsi, _event) = (partition, gsi, file);

    /// <summary>The eventfd, for whoever raises it from native code (vhost, a device in another process). Valid until this is disposed.</summary>
    public int EventDescriptor => _event.Descriptor;

    /// <summary>Raises the interrupt.</summary>
    public void Raise() => _event.SetEvent();

    /// <summary>Ends the connection.</summary>
    public void Dispose() => _partition.Disconnect(_gsi);
}
