// linux/kvm.h, struct kvm_run: the page a vCPU shares with the kernel.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Kvm.Interop;

/// <summary>kvm_run up to its registers; of the union of exits, those that are read, at their offsets.</summary>
[StructLayout(LayoutKind.Explicit, Size = 2352)]
internal unsafe struct kvm_run
{
    [FieldOffset(0)] public byte request_interrupt_window;
    [FieldOffset(1)] public byte immediate_exit;
    [FieldOffset(8)] public uint exit_reason;
    [FieldOffset(12)] public byte ready_for_interrupt_injection;
    [FieldOffset(13)] public byte if_flag;
    [FieldOffset(14)] public ushort flags;
    [FieldOffset(16)] public ulong cr8;
    [FieldOffset(24)] public ulong apic_base;

    [FieldOffset(32)] public byte io_direction;
    [FieldOffset(33)] public byte io_size;
    [FieldOffset(34)] public ushort io_port;
    [FieldOffset(36)] public uint io_count;
    [FieldOffset(40)] public ulong io_data_offset;

    [FieldOffset(32)] public ulong mmio_phys_addr;
    [FieldOffset(40)] public fixed byte mmio_data[8];
    [FieldOffset(48)] public uint mmio_len;
    [FieldOffset(52)] public byte mmio_is_write;

    [FieldOffset(32)] public byte msr_error;
    [FieldOffset(40)] public uint msr_reason;
    [FieldOffset(44)] public uint msr_index;
    [FieldOffset(48)] public ulong msr_data;

    [FieldOffset(32)] public uint debug_arch_exception;
    [FieldOffset(40)] public ulong debug_arch_pc;
    [FieldOffset(48)] public ulong debug_arch_dr6;
    [FieldOffset(56)] public ulong debug_arch_dr7;

    [FieldOffset(32)] public ulong hw_hardware_exit_reason;
    [FieldOffset(32)] public ulong fail_entry_hardware_entry_failure_reason;
    [FieldOffset(40)] public uint fail_entry_cpu;

    [FieldOffset(32)] public uint internal_suberror;
    [FieldOffset(36)] public uint internal_ndata;
    [FieldOffset(40)] public fixed ulong internal_data[16];
    [FieldOffset(40)] public ulong emulation_failure_flags;
    [FieldOffset(48)] public byte emulation_failure_insn_size;
    [FieldOffset(49)] public fixed byte emulation_failure_insn_bytes[15];

    [FieldOffset(32)] public uint system_event_type;
    [FieldOffset(36)] public uint system_event_ndata;
    [FieldOffset(32)] public byte eoi_vector;
    [FieldOffset(32)] public uint ex_exception;
}
