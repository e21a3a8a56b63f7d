// Documentation/virt/kvm/x86/cpuid.rst of Linux (paravirtual leaves); Intel SDM vol. 2A, CPUID.
using Vmm.Backends.Kvm.Interop;
using Vmm.Core.X86;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>The CPUID table of a vCPU: what the model says, less what the host cannot do, plus KVM's own leaves.</summary>
internal static class KvmCpuid
{
    /// <summary>KVM's local APIC timer counts nanoseconds, whatever the TSC does.</summary>
    private const uint ApicFrequency = 1_000_000_000;

    // kvmclock (old and new), asynchronous page faults with an interrupt, steal time, PV EOI, kicks, TLB flushes, IPIs, polling control, yield; a stable clock.
    private const uint ParavirtualFeatures = 1 << 0 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 24;

    private const uint X2Apic = 1 << 21, TscDeadline = 1 << 24, OsXsave = 1 << 27, Hypervisor = 1u << 31;
    private const uint OsPke = 1 << 4, Arat = 1 << 2, ArchCapabilities = 1 << 29, InvariantTsc = 1 << 8;

    /// <summary>Makes the table of one vCPU.</summary>
    /// <param name="host">What the host has.</param>
    /// <param name="model">What the guest shall see.</param>
    /// <param name="index">The vCPU.</param>
    /// <param name="count">How many the machine has.</param>
    /// <param name="tscKilohertz">The frequency of its TSC.</param>
    /// <param name="paravirtual">Whether KVM's own features are told.</param>
    public static kvm_cpuid_entry2[] Build(KvmHost host, CpuModel model, int index, int count, uint tscKilohertz, bool paravirtual)
    {
        List<kvm_cpuid_entry2> table = [];
        void Add(uint leaf, CpuidResult r) => table.Add(new kvm_cpuid_entry2 { function = leaf, eax = r.Eax, ebx = r.Ebx, ecx = r.Ecx, edx = r.Edx });
        void AddIndexed(uint leaf, uint subleaf, CpuidResult r) =>
            table.Add(new kvm_cpuid_entry2 { function = leaf, index = subleaf, flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, eax = r.Eax, ebx = r.Ebx, ecx = r.Ecx, edx = r.Edx });
        CpuidResult Model(uint leaf, uint subleaf = 0) => model.GetCpuid(leaf, subleaf, index, count);

        var last = Model(0).Eax;
        for (uint leaf = 0; leaf <= last; leaf++)
        {
            var said = Model(leaf);
            var has = host.FindCpuid(leaf);
            switch (leaf)
            {
                case 1:
                    // What KVM emulates itself it may not list; OSXSAVE it keeps up to date from here on.
                    var ecx = said.Ecx & (has.ecx | X2Apic | Hypervisor | (host.Has(KVM_CAP_TSC_DEADLINE_TIMER) ? TscDeadline : 0)) & ~OsXsave;
                    Add(leaf, said with { Ecx = ecx, Edx = said.Edx & (has.edx | 1 << 28) });
                    break;
                case 4:
                    for (uint cache = 0; cache < 4; cache++) AddIndexed(leaf, cache, Model(leaf, cache));
                    break;
                case 6:
                    Add(leaf, new CpuidResult(said.Eax & (has.eax | Arat), 0, 0, 0));
                    break;
                case 7:
                    AddIndexed(leaf, 0, new CpuidResult(0, said.Ebx & has.ebx, said.Ecx & has.ecx & ~OsPke, said.Edx & (has.edx | ArchCapabilities) & HostArchCapabilities(host)));
                    break;
                case 0xB or 0x1F:
                    for (uint level = 0; level < 3; level++) AddIndexed(leaf, level, Model(leaf, level));
                    break;
                case 0xD:
                    AddXsave(host, model, AddIndexed);
                    break;
                case 0x15:
                    // Kernels take the crystal's frequency for the local APIC timer's, which here is a gigahertz.
                    Add(leaf, new CpuidResult(1_000_000, tscKilohertz, ApicFrequency, 0));
                    break;
                case 0x16:
                    Add(leaf, new CpuidResult(tscKilohertz / 1000, tscKilohertz / 1000, 100, 0));
                    break;
                default:
                    if (said != default) Add(leaf, said);
                    break;
            }
        }

        AddHypervisor(host, paravirtual, tscKilohertz, Model(KVM_CPUID_SIGNATURE), Add);
        last = Model(0x80000000).Eax;
        for (var leaf = 0x80000000; leaf <= last; leaf++)
        {
            var said = Model(leaf);
            var has = host.FindCpuid(leaf);
            said = leaf switch
            {
                0x80000001 => said with { Ecx = said.Ecx & has.ecx, Edx = said.Edx & has.edx },
                0x80000007 => said with { Edx = said.Edx & (has.edx | InvariantTsc) },
                // The guest may use no more address bits than the host's page tables have.
                0x80000008 => new CpuidResult((said.Eax & ~0xFFu) | (has.eax == 0 ? said.Eax & 0xFF : Math.Min(said.Eax & 0xFF, has.eax & 0xFF)), said.Ebx & has.ebx, said.Ecx, 0),
                _ => said,
            };
            Add(leaf, said);
        }

        return [.. table];
    }

    /// <summary>The XSAVE components that a guest of a model gets here.</summary>
    public static ulong Xcr0(KvmHost host, CpuModel model)
    {
        var has = host.FindCpuid(0xD);
        return (model.Xcr0Mask & (has.eax | (ulong)has.edx << 32)) | 1;
    }

    /// <summary>Where a component is in the host's standard-format area; zero if it has it not.</summary>
    public static int XsaveOffset(KvmHost host, int component) => (int)host.FindCpuid(0xD, (uint)component).ebx;

    private static void AddXsave(KvmHost host, CpuModel model, Action<uint, uint, CpuidResult> add)
    {
        var components = Xcr0(host, model);
        if (!model.Has(CpuFeature.Xsave) || host.FindCpuid(0xD).eax == 0) return;
        uint size = 576;
        for (var i = 2; i < 63; i++)
        {
            if ((components >> i & 1) == 0) continue;
            var has = host.FindCpuid(0xD, (uint)i);
            size = Math.Max(size, has.ebx + has.eax);
        }

        add(0xD, 0, new CpuidResult((uint)components, size, size, (uint)(components >> 32)));
        add(0xD, 1, new CpuidResult(model.GetCpuid(0xD, 1, 0, 1).Eax & host.FindCpuid(0xD, 1).eax & 7, 0, 0, 0));
        for (var i = 2; i < 63; i++)
        {
            if ((components >> i & 1) == 0) continue;
            // The instructions are the host's, so the layout is too.
            var has = host.FindCpuid(0xD, (uint)i);
            add(0xD, (uint)i, new CpuidResult(has.eax, has.ebx, has.ecx, has.edx));
        }
    }

    private static void AddHypervisor(KvmHost host, bool paravirtual, uint tscKilohertz, CpuidResult ours, Action<uint, CpuidResult> add)
    {
        const uint timing = KVM_CPUID_SIGNATURE + 0x10;
        if (paravirtual)
        {
            // "KVMKVMKVM\0\0\0": guests look for their hypervisor's features by this name.
            add(KVM_CPUID_SIGNATURE, new CpuidResult(timing, 0x4B4D564B, 0x564B4D56, 0x4D));
            add(KVM_CPUID_FEATURES, new CpuidResult(host.FindCpuid(KVM_CPUID_FEATURES).eax & ParavirtualFeatures, 0, 0, 0));
        }
        else
        {
            add(KVM_CPUID_SIGNATURE, ours);
        }

        add(timing, new CpuidResult(tscKilohertz, ApicFrequency / 1000, 0, 0));
    }

    // Bits that change nothing but what the kernel must do against speculation: taken from the host, never promised without it.
    private static uint HostArchCapabilities(KvmHost host) => host.Msrs.Contains(0x10Au) ? uint.MaxValue : ~ArchCapabilities;
}
