using Vmm.Core.Memory;

namespace Vmm.Core.Buses;

/// <summary>
/// What a vCPU's exits talk to: ports, memory-mapped I/O, interrupt acknowledge and end-of-interrupt. One sealed class, so
/// that the calls of the run loop are direct. Any vCPU thread may call; nothing here blocks beyond a device's own lock.
/// </summary>
/// <param name="memory">The guest-physical memory behind the windows.</param>
public sealed partial class SystemBus(GuestMemory memory)
{
    private volatile Func<byte>? _acknowledge;
    private volatile Action<byte>? _endOfInterrupt;

    /// <summary>Guest-physical memory.</summary>
    public GuestMemory Memory { get; } = memory;

    /// <summary>The 65 536 ports.</summary>
    public IoBus Ports { get; } = new("port", 1 << 16);

    /// <summary>Memory-mapped I/O: guest-physical addresses that no memory region backs. Memory wins where both claim an address.</summary>
    public IoBus Mmio { get; } = new("memory", 1UL << 52);

    /// <summary>Sets who answers the INTA cycle of an external (8259) interrupt: returns the vector.</summary>
    public Func<byte>? ExternalInterruptController { get => _acknowledge; set => _acknowledge = value; }

    /// <summary>Sets who hears of the end of a level-triggered interrupt: the IOAPIC, with the vector.</summary>
    public Action<byte>? EndOfInterruptListener { get => _endOfInterrupt; set => _endOfInterrupt = value; }

    /// <summary>A guest read of memory-mapped I/O of 1 to 16 bytes; it reaches devices as naturally sized pieces of at most 8.</summary>
    /// <param name="gpa">Guest-physical address.</param>
    /// <param name="data">Receives the bytes.</param>
    public void ReadMmio(ulong gpa, Span<byte> data)
    {
        for (var done = 0; done < data.Length;)
        {
            var size = PieceSize(data.Length - done);
            var value = Mmio.Read(gpa + (uint)done, size);
            for (var i = 0; i < size; i++) data[done + i] = (byte)(value >> (i * 8));
            done += size;
        }
    }

    /// <summary>A guest write of memory-mapped I/O of 1 to 16 bytes; it reaches devices as naturally sized pieces of at most 8.</summary>
    /// <param name="gpa">Guest-physical address.</param>
    /// <param name="data">The bytes.</param>
    public void WriteMmio(ulong gpa, ReadOnlySpan<byte> data)
    {
        for (var done = 0; done < data.Length;)
        {
            var size = PieceSize(data.Length - done);
            ulong value = 0;
            for (var i = 0; i < size; i++) value |= (ulong)data[done + i] << (i * 8);
            Mmio.Write(gpa + (uint)done, size, value);
            done += size;
        }
    }

    /// <summary>The INTA cycle: asks the external interrupt controller for the vector of the interrupt it signals.</summary>
    /// <returns>The vector; 0xFF where no controller is fitted.</returns>
    public byte AcknowledgeExternalInterrupt() => _acknowledge?.Invoke() ?? 0xFF;

    /// <summary>A local APIC has seen the end of a level-triggered interrupt.</summary>
    /// <param name="vector">The vector.</param>
    public void EndOfInterrupt(byte vector) => _endOfInterrupt?.Invoke(vector);

    private static int PieceSize(int left) => left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}
