using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Buses;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>MSIs, their routes, interrupts by eventfd, and MSRs that are denied.</summary>
public sealed unsafe partial class KvmPartition
{
    // Reserved for level-triggered messages; those of irqfds come after them. The kernel keeps this number in eight bits, and does not say so: with
    // 256 there are none.
    private const int RouteCount = 240, IrqfdCount = 256;
    private const uint LevelTriggered = 0x8000;

    private readonly Lock _routeLock = new();
    private readonly Dictionary<int, kvm_irq_routing_entry> _routes = [];
    private readonly Dictionary<int, KvmFile> _interrupts = [];
    private readonly int[] _levels = new int[8];
    private int _nextLevelRoute;

    /// <inheritdoc/>
    public void SignalMsi(MsiMessage message)
    {
        if (message.Address >> 20 != 0xFEE || Settings.Irqchip == KvmIrqchip.None) return;
        if ((message.Data & LevelTriggered) != 0 && Settings.Irqchip == KvmIrqchip.Split) LearnLevel(message);
        var msi = new kvm_msi { address_lo = (uint)message.Address, address_hi = (uint)(message.Address >> 32), data = message.Data };

        // No receiver is the guest's affair; so is a message that means nothing.
        _ = _vm.TryCall(KVM_SIGNAL_MSI, ref msi);
    }

    /// <summary>Sets an input of the kernel's I/O APIC and PIC. Only with <see cref="KvmIrqchip.Kernel"/>; else it has no effect.</summary>
    /// <param name="input">The global system interrupt, 0 to 23.</param>
    /// <param name="level">Asserted or not.</param>
    public void SetInterruptInput(int input, bool level)
    {
        if (Settings.Irqchip != KvmIrqchip.Kernel) return;
        var line = new kvm_irq_level { irq = (uint)input, level = level ? 1u : 0u };
        _vm.Call(KVM_IRQ_LINE, nameof(KVM_IRQ_LINE), ref line);
    }

    /// <summary>Connects an eventfd to an interrupt message: each write to it raises the interrupt in the kernel (irqfd).</summary>
    /// <param name="message">The message.</param>
    /// <returns>The eventfd's owner: dispose it to end the connection.</returns>
    /// <exception cref="InvalidOperationException">There are no local APICs in the kernel, or 256 such connections.</exception>
    /// <exception cref="Core.Errors.HypervisorException">The host refused.</exception>
    public KvmInterrupt ConnectInterrupt(MsiMessage message)
    {
        if (Settings.Irqchip != KvmIrqchip.Split) throw new InvalidOperationException($"Interrupts by eventfd need {nameof(KvmIrqchip)}.{nameof(KvmIrqchip.Split)}.");
        lock (_routeLock)
        {
            var gsi = RouteCount;
            while (gsi < RouteCount + IrqfdCount && _interrupts.ContainsKey(gsi)) gsi++;
            if (gsi == RouteCount + IrqfdCount) throw new InvalidOperationException($"There are {IrqfdCount} interrupts by eventfd already.");
            SetRoute(gsi, message);
            var file = KvmFile.CreateEvent();
            var irqfd = new kvm_irqfd { fd = (uint)file.Descriptor, gsi = (uint)gsi };
            _vm.Call(KVM_IRQFD, nameof(KVM_IRQFD), ref irqfd);
            _interrupts.Add(gsi, file);
            return new KvmInterrupt(this, gsi, file);
        }
    }

    /// <summary>The level-triggered vectors, one bit each, whose end has not been told yet.</summary>
    internal ReadOnlySpan<int> Levels => _levels;

    /// <summary>A level-triggered interrupt has ended.</summary>
    internal void EndLevel(byte vector)
    {
        Interlocked.And(ref _levels[vector >> 5], ~(1 << (vector & 31)));
        Bus.EndOfInterrupt(vector);
    }

    internal void Disconnect(int gsi)
    {
        lock (_routeLock)
        {
            if (_disposed || !_interrupts.Remove(gsi, out var file)) return;
            var irqfd = new kvm_irqfd { fd = (uint)file.Descriptor, gsi = (uint)gsi, flags = KVM_IRQFD_FLAG_DEASSIGN };
            _ = _vm.TryCall(KVM_IRQFD, ref irqfd);
            file.Dispose();
            _routes.Remove(gsi);
            SetRoutes();
        }
    }

    // The kernel leaves to us the end of those level-triggered vectors only that a route of the reserved inputs names; so each message that
    // the I/O APIC sends becomes one before it is sent for the first time.
    internal void LearnLevel(MsiMessage message)
    {
        Interlocked.Or(ref _levels[(message.Data & 0xFF) >> 5], 1 << (int)(message.Data & 31));
        lock (_routeLock)
        {
            foreach (var (gsi, route) in _routes)
            {
                if (gsi < RouteCount && route.address_lo == (uint)message.Address && route.data == message.Data) return;
            }

            // When all are in use the oldest goes: a guest has no more level-triggered inputs than that.
            SetRoute(_nextLevelRoute, message);
            _nextLevelRoute = (_nextLevelRoute + 1) % RouteCount;
        }
    }

    private void SetRoute(int gsi, MsiMessage message)
    {
        _routes[gsi] = new kvm_irq_routing_entry
        {
            gsi = (uint)gsi, type = KVM_IRQ_ROUTING_MSI, address_lo = (uint)message.Address, address_hi = (uint)(message.Address >> 32), data = message.Data,
        };
        SetRoutes();
    }

    private void SetRoutes()
    {
        kvm_irq_routing_entry[] used = [.. _routes.Values];
        var count = (uint)used.Length;
        var result = _vm.TryCallList(KVM_SET_GSI_ROUTING, used.AsSpan(), ref count);
        if (result < 0) throw KvmErrors.Of(nameof(KVM_SET_GSI_ROUTING), -result);
    }

    private void DenyMsrs()
    {
        if (Settings.DeniedMsrs.IsDefaultOrEmpty) return;
        if (!Host.Has(KVM_CAP_X86_MSR_FILTER)) throw KvmErrors.Of(nameof(KVM_X86_SET_MSR_FILTER), Linux.ENOSYS);
        const int bytes = 4096 / 8;
        var filter = new kvm_msr_filter();

        // A clear bit denies: one bitmap of zeros serves all ranges.
        var nothing = stackalloc byte[bytes];
        new Span<byte>(nothing, bytes).Clear();
        for (var i = 0; i < Settings.DeniedMsrs.Length; i++)
        {
            var (first, count) = Settings.DeniedMsrs[i];
            ArgumentOutOfRangeException.ThrowIfGreaterThan(i, (int)KVM_MSR_FILTER_MAX_RANGES - 1, nameof(KvmOptions.DeniedMsrs));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(count, 4096u, nameof(KvmOptions.DeniedMsrs));
            // SAFETY: the bitmap has room for the largest count, and the kernel copies it during the call.
            filter.ranges[i] = new kvm_msr_filter_range { flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, nmsrs = count, @base = first, bitmap = nothing };
        }

        _vm.Call(KVM_X86_SET_MSR_FILTER, nameof(KVM_X86_SET_MSR_FILTER), ref filter);
    }
}
