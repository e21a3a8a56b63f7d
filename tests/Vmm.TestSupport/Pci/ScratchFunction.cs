using Vmm.Core.Buses;
using Vmm.Core.State;
using Vmm.Devices.Pci;

namespace Vmm.TestSupport.Pci;

/// <summary>
/// A PCI function of no use but for tests, with a BAR of every kind, MSI, MSI-X and a pin. BAR 0 (32-bit memory) has registers: 0 reads
/// the id, 4 remembers, a write of n to 8 raises interrupt n, 0xC tells (bit 0) and takes back (by writing 1) the pin's interrupt. BAR 1 has the
/// same registers as ports, BAR 2 (64-bit, prefetchable) 64 KiB of memory, BAR 4 (64-bit) the MSI-X table.
/// </summary>
public sealed class ScratchFunction : PciFunction, IDisposable
{
    public const ushort Vendor = 0x1234, DeviceId = 0x5C4A;
    public const uint Id = 0x54415243, Remember = 4, Raise = 8, Pin = 0xC, RegistersLength = 0x10;
    public const int Vectors = 70, MemorySize = 64 << 10;
    public const int VendorCapability = 9;

    private struct State
    {
        public uint Scratch, Raised;
        public bool Pending;
    }

    private readonly byte[] _memory = new byte[MemorySize];
    private State _s;

    public ScratchFunction(bool hasMessages = true)
        : base(new PciIdentity(Vendor, DeviceId, 0xFF0000, 3, 0x1AF4, 0x1100))
    {
        var registers = new Registers(this);
        AddBar(0, PciBarKind.Memory32, 0x1000).Map(0, RegistersLength, registers);
        AddBar(1, PciBarKind.Io, 0x20).Map(0, RegistersLength, registers);
        AddBar(2, PciBarKind.Memory64Prefetchable, MemorySize).Map(0, MemorySize, new Memory(this));
        UseInterruptLine();
        if (hasMessages)
        {
            AddMsiX(AddBar(4, PciBarKind.Memory64, 0x4000), Vectors, 0, 0x2000);
            AddMsi(4);
        }

        VendorAt = AddCapability(VendorCapability, [8, 0x11, 0x22, 0x33, 0, 0], [0, 0, 0x0F, 0, 0xFF, 0xFF]);
    }

    public int VendorAt { get; }

    public bool IsDisposed { get; private set; }

    /// <summary>How often the guest asked for an interrupt.</summary>
    public uint Raised => _s.Raised;

    public override void Reset()
    {
        base.Reset();
        _s = default;
        Array.Clear(_memory);
        InterruptLevel = false;
    }

    public override void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Scratch);
        visitor.Field(2, ref _s.Raised);
        visitor.Field(3, ref _s.Pending);
        visitor.Array(4, _memory.AsSpan());
        base.VisitState(visitor);
    }

    public override void OnStateLoaded()
    {
        base.OnStateLoaded();
        InterruptLevel = _s.Pending;
    }

    /// <summary>Host side: raises an interrupt.</summary>
    public void Interrupt(int vector)
    {
        lock (this)
        {
            _s.Raised++;
            if (RaiseInterrupt(vector)) return;
            _s.Pending = true;
            InterruptLevel = true;
        }
    }

    public void Dispose() => IsDisposed = true;

    private sealed class Registers(ScratchFunction owner) : IIoHandler
    {
        public ulong Read(uint offset, int size) => offset switch
        {
            0 => Id,
            Remember => owner._s.Scratch,
            Raise => owner._s.Raised,
            Pin => owner._s.Pending ? 1u : 0,
            _ => 0,
        };

        public void Write(uint offset, int size, ulong value)
        {
            switch (offset)
            {
                case Remember: owner._s.Scratch = (uint)value; break;
                case Raise: owner.Interrupt((int)(value & 0xFFFF)); break;
                case Pin when (value & 1) != 0:
                    owner._s.Pending = false;
                    owner.InterruptLevel = false;
                    break;
            }
        }
    }

    private sealed class Memory(ScratchFunction owner) : IIoHandler
    {
        public ulong Read(uint offset, int size)
        {
            ulong value = 0;
            for (var i = 0; i < size; i++) value |= (ulong)owner._memory[offset + i] << (8 * i);
            return value;
        }

        public void Write(uint offset, int size, ulong value)
        {
            for (var i = 0; i < size; i++) owner._memory[offset + i] = (byte)(value >> (8 * i));
        }
    }
}
