using Vmm.Backends.Software.Cpu;

namespace Vmm.Backends.Software.Interrupts;

/// <summary>The local APIC of one processor (Intel SDM vol. 3, chapter 11).</summary>
internal sealed class LocalApic(Vcpu cpu) : IDisposable
{
    private readonly Vcpu _cpu = cpu;

    public ulong Base { get; set; } = 0xFEE00900;

    public bool HasPending => false;

    public bool AcceptsExternal => _cpu.Index == 0;

    public ulong Tpr { get; set; }

    public bool Claims(ulong gpa) => (gpa & ~0xFFFUL) == (Base & ~0xFFFUL) && (Base & 0xC00) == 0x800;

    public int TakeInterrupt() => -1;

    public void ReadPage(uint offset, Span<byte> data) => data.Clear();

    public void WritePage(uint offset, ReadOnlySpan<byte> data) { }

    public void Save(Span<byte> page) => page.Clear();

    public void Load(ReadOnlySpan<byte> page) { }

    public void Dispose() { }
}
