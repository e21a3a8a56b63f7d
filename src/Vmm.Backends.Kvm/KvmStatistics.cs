// Documentation/virt/kvm/api.rst of Linux, 4.133 KVM_GET_STATS_FD.
using System.Runtime.InteropServices;
using System.Text;
using Vmm.Backends.Kvm.Interop;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>The binary statistics of a VM or vCPU.</summary>
internal static class KvmStatistics
{
    private const uint MaxNameBytes = 256, MaxDescriptors = 1024;

    /// <summary>Reads one statistic by its name. False where the host has no statistics, or not this one.</summary>
    public static bool TryRead(KvmFile owner, string name, out ulong value)
    {
        value = 0;
        var descriptor = owner.TryCall(KVM_GET_STATS_FD);
        if (descriptor < 0) return false;
        using var file = new KvmFile(descriptor);
        var header = default(kvm_stats_header);
        if (!file.TryRead(MemoryMarshal.AsBytes(new Span<kvm_stats_header>(ref header)), 0) || header.name_size > MaxNameBytes || header.num_desc > MaxDescriptors) return false;
        var size = Marshal.SizeOf<kvm_stats_desc>();
        var record = new byte[size + (int)header.name_size];
        for (uint i = 0; i < header.num_desc; i++)
        {
            if (!file.TryRead(record, header.desc_offset + i * record.Length)) return false;
            var text = record.AsSpan(size);
            var end = text.IndexOf((byte)0);
            if (Encoding.ASCII.GetString(end < 0 ? text : text[..end]) != name) continue;
            var description = MemoryMarshal.Read<kvm_stats_desc>(record);
            return file.TryRead(MemoryMarshal.AsBytes(new Span<ulong>(ref value)), header.data_offset + description.offset);
        }

        return false;
    }
}
