using System.Runtime.InteropServices;
using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Backends;
using Vmm.Core.Errors;

namespace Vmm.Backends.Kvm;

/// <summary>Linux KVM, straight on its ioctl interface. Needs an x86-64 host and read and write access to <c>/dev/kvm</c>.</summary>
/// <param name="options">How its virtual machines are set up; null for the defaults.</param>
public sealed class KvmHypervisor(KvmOptions? options = null) : IHypervisor
{
    private readonly KvmOptions _options = options ?? new KvmOptions();
    private readonly Lock _lock = new();
    private KvmHost? _host;
    private HypervisorProbe? _found;

    /// <inheritdoc/>
    public string Name => "kvm";

    /// <inheritdoc/>
    /// <remarks>The first probe of a usable KVM runs a few thousand instructions in a throw-away virtual machine, which tells what it can do.</remarks>
    public HypervisorProbe Probe()
    {
        if (KvmAbsence.OfPlatform() is { } wrong) return wrong;
        using var device = KvmFile.Open(_options.DevicePath, out var error);
        if (device.IsInvalid) return KvmAbsence.Of(_options.DevicePath, error);
        lock (_lock)
        {
            try
            {
                return _found ??= KvmAbility.Probe(device, Host(device), _options);
            }
            catch (HypervisorException e)
            {
                return new HypervisorProbe(Name, false, $"{_options.DevicePath} opens, but {e.Message}", e.Hint, HypervisorCapabilities.None);
            }
        }
    }

    /// <inheritdoc/>
    public IPartition CreatePartition(PartitionOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (KvmAbsence.OfPlatform() is { } wrong) throw new HypervisorException($"open {_options.DevicePath}", Linux.ENODEV, wrong.Detail, wrong.Fix);
        var device = KvmFile.Open(_options.DevicePath, out var error);
        if (device.IsInvalid)
        {
            device.Dispose();
            var absence = KvmAbsence.Of(_options.DevicePath, error);
            throw new HypervisorException($"open {_options.DevicePath}", error, absence.Detail, absence.Fix);
        }

        using (device)
        {
            lock (_lock)
            {
                _found ??= KvmAbility.Probe(device, Host(device), _options);
            }

            return new KvmPartition(device, Host(device), _options, options, _found.Capabilities);
        }
    }

    private KvmHost Host(KvmFile device) => _host ??= new KvmHost(device);
}
