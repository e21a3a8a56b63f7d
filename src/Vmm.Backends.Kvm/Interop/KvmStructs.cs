// linux/kvm.h and asm/kvm.h (x86): the structures, field by field with their native names. Checked against the system's header by tests.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Kvm.Interop;

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_regs
{
    public ulong rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags;
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_segment
{
    public ulong @base;
    public uint limit;
    public ushort selector;
    public byte type, present, dpl, db, s, l, g, avl, unusable, padding;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_dtable
{
    public ulong @base;
    public ushort limit;
    public fixed ushort padding[3];
}

/// <summary>kvm_sregs2; its first 16 fields are also those of kvm_sregs, which ends with an interrupt bitmap instead.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_sregs2
{
    public kvm_segment cs, ds, es, fs, gs, ss, tr, ldt;
    public kvm_dtable gdt, idt;
    public ulong cr0, cr2, cr3, cr4, cr8, efer, apic_base, flags;
    public fixed ulong pdptrs[4];
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_sregs
{
    public kvm_segment cs, ds, es, fs, gs, ss, tr, ldt;
    public kvm_dtable gdt, idt;
    public ulong cr0, cr2, cr3, cr4, cr8, efer, apic_base;
    public fixed ulong interrupt_bitmap[4];
}

/// <summary>kvm_vcpu_events: the nested structures of C are written out with their names in front.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_vcpu_events
{
    public byte exception_injected, exception_nr, exception_has_error_code, exception_pending;
    public uint exception_error_code;
    public byte interrupt_injected, interrupt_nr, interrupt_soft, interrupt_shadow;
    public byte nmi_injected, nmi_pending, nmi_masked, nmi_pad;
    public uint sipi_vector, flags;
    public byte smi_smm, smi_pending, smi_smm_inside_nmi, smi_latched_init, triple_fault_pending;
    public fixed byte reserved[26];
    public byte exception_has_payload;
    public ulong exception_payload;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_debugregs
{
    public fixed ulong db[4];
    public ulong dr6, dr7, flags;
    public fixed ulong reserved[9];
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_xcr
{
    public uint xcr, reserved;
    public ulong value;
}

/// <summary>kvm_xcrs with room for the one register that exists; C has an array of 16.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_xcrs
{
    public uint nr_xcrs, flags;
    public kvm_xcr xcr0;
    public fixed ulong others[30];
    public fixed ulong padding[16];
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_mp_state
{
    public uint mp_state;
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_msr_entry
{
    public uint index, reserved;
    public ulong data;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_cpuid_entry2
{
    public uint function, index, flags, eax, ebx, ecx, edx;
    public fixed uint padding[3];
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_userspace_memory_region
{
    public uint slot, flags;
    public ulong guest_phys_addr, memory_size, userspace_addr;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_dirty_log
{
    public uint slot, padding1;
    public void* dirty_bitmap;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_clear_dirty_log
{
    public uint slot, num_pages;
    public ulong first_page;
    public void* dirty_bitmap;
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_dirty_gfn
{
    public uint flags, slot;
    public ulong offset;
}

/// <summary>kvm_irq_routing_entry of the kind KVM_IRQ_ROUTING_MSI or KVM_IRQ_ROUTING_IRQCHIP (irqchip in address_lo, pin in address_hi).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_irq_routing_entry
{
    public uint gsi, type, flags, pad;
    public uint address_lo, address_hi, data, devid;
    public fixed uint rest[4];
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_msi
{
    public uint address_lo, address_hi, data, flags, devid;
    public fixed byte pad[12];
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_irqfd
{
    public uint fd, gsi, flags, resamplefd;
    public fixed byte pad[16];
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_ioeventfd
{
    public ulong datamatch, addr;
    public uint len;
    public int fd;
    public uint flags;
    public fixed byte pad[36];
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_coalesced_mmio_zone
{
    public ulong addr;
    public uint size, pio;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_coalesced_mmio
{
    public ulong phys_addr;
    public uint len, pio;
    public fixed byte data[8];
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_coalesced_mmio_ring
{
    public uint first, last;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_enable_cap
{
    public uint cap, flags;
    public fixed ulong args[4];
    public fixed byte pad[64];
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_guest_debug
{
    public uint control, pad;
    public fixed ulong debugreg[8];
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_clock_data
{
    public ulong clock;
    public uint flags, pad0;
    public ulong realtime, host_tsc;
    public fixed uint pad[4];
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_msr_filter_range
{
    public uint flags, nmsrs, @base;
    public byte* bitmap;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_msr_filter
{
    public uint flags;
    public Ranges ranges;

    [System.Runtime.CompilerServices.InlineArray((int)Kvm.KVM_MSR_FILTER_MAX_RANGES)]
    public struct Ranges
    {
        private kvm_msr_filter_range _first;
    }
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct kvm_pit_config
{
    public uint flags;
    public fixed uint pad[15];
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_irq_level
{
    public uint irq, level;
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_device_attr
{
    public uint flags, group;
    public ulong attr, addr;
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_stats_header
{
    public uint flags, name_size, num_desc, id_offset, desc_offset, data_offset;
}

[StructLayout(LayoutKind.Sequential)]
internal struct kvm_stats_desc
{
    public uint flags;
    public short exponent;
    public ushort size;
    public uint offset, bucket_size;
}
