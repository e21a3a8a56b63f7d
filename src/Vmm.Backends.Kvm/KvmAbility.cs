using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>
/// Tells by behaviour what kind of KVM a host has. There are such as run kernel-mode code through their instruction emulator, slowly and with
/// instructions missing: good for many guests, not for whole operating systems.
/// </summary>
internal static class KvmAbility
{
    private const ushort DonePort = 0xF4;

    // 64-bit code of ring 0: a loop of 2 000 turns, 4 000 instructions, then floating point, which no emulator of KVM's has, then the end by a port.
    private static ReadOnlySpan<byte> Program => [0xB9, 0xD0, 0x07, 0x00, 0x00, 0xFF, 0xC9, 0x75, 0xFC, 0xDB, 0xE3, 0xD9, 0xE8, 0xD9, 0xE8, 0xDE, 0xC1, 0xE6, (byte)DonePort, 0xF4];

    public static HypervisorProbe Probe(KvmFile device, KvmHost host, KvmOptions settings)
    {
        if (!host.Has(KVM_CAP_IMMEDIATE_EXIT)) return new("kvm", false, "This KVM is older than Linux 4.13 and cannot be interrupted safely.", "use a newer kernel", HypervisorCapabilities.None);
        if (settings.Irqchip == KvmIrqchip.Split && !host.Has(KVM_CAP_SPLIT_IRQCHIP)) return new("kvm", false, "This KVM cannot leave the I/O APIC to us.", "use Linux 4.5 or newer", HypervisorCapabilities.None);
        var abilities = HypervisorCapabilities.DirtyLog | (settings.Irqchip == KvmIrqchip.None ? 0 : HypervisorCapabilities.LocalApic | HypervisorCapabilities.HaltsInside);
        var problem = RunProgram(device, host);
        return problem is null
            ? new("kvm", true, $"{settings.DevicePath} works, and runs kernel-mode code in hardware.", null, abilities | HypervisorCapabilities.FullSystem | Debugging(host))
            : new("kvm", true, $"{settings.DevicePath} works, but kernel-mode code is emulated, not run in hardware ({problem}): whole operating systems need the software CPU here.", null, abilities);
    }

    // A KVM that emulates may step through kernel mode, but neither through user mode nor over an INT3, whatever its capability says.
    private static HypervisorCapabilities Debugging(KvmHost host) =>
        host.Has(KVM_CAP_SET_GUEST_DEBUG) ? HypervisorCapabilities.SingleStep | HypervisorCapabilities.HardwareBreakpoints | HypervisorCapabilities.SoftwareBreakpoints : 0;

    // Null when the program ran to its end in hardware.
    private static string? RunProgram(KvmFile device, KvmHost host)
    {
        var memory = new GuestMemory();
        using var region = MemoryRegion.Allocate("probe", 0, 0x10000);
        memory.Add(region);
        WriteTables(memory);
        var bus = new SystemBus(memory);
        using var clock = new VmClock(TimeProvider.System);
        using var partition = new KvmPartition(device, host, new KvmOptions { Irqchip = KvmIrqchip.None }, new PartitionOptions { Bus = bus, Clock = clock }, HypervisorCapabilities.None);
        var vcpu = (KvmVcpu)partition.Vcpus[0];
        bus.Ports.Map(DonePort, 1, new Done(vcpu));
        var state = new VcpuState { Rip = 0x5000, Rflags = 2, Cr0 = 0x80000033, Cr3 = 0x1000, Cr4 = 0x620, Efer = 0x500, };
        state.Segments[1] = SegmentState.Code64(8);
        foreach (var i in (ReadOnlySpan<int>)[0, 2, 3, 4, 5]) state.Segments[i] = SegmentState.Data32(16);
        vcpu.SetState(state);
        var stop = vcpu.Run();
        if (KvmStatistics.TryRead(vcpu.File, "insn_emulation", out var emulated) && emulated >= 1000) return $"{emulated} instructions of a short program were emulated";
        return stop.Kind == VcpuStopKind.Kicked ? null : stop.Reason ?? stop.Kind.ToString();
    }

    // Four levels of tables: the first 2 MiB, mapped to themselves.
    private static void WriteTables(GuestMemory memory)
    {
        memory.TryWrite(0x1000, 0x2003UL);
        memory.TryWrite(0x2000, 0x3003UL);
        memory.TryWrite(0x3000, 0x83UL);
        memory.TryWrite(0x5000, Program);
    }

    private sealed class Done(KvmVcpu vcpu) : IIoHandler
    {
        public ulong Read(uint offset, int size) => ulong.MaxValue;

        public void Write(uint offset, int size, ulong value) => vcpu.Kick();
    }
}
