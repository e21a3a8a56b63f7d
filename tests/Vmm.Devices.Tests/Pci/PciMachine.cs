using Vmm.Core.Buses;
using Vmm.Devices.Boards;
using Vmm.Devices.Pci;
using Vmm.Devices.Tests.Support;
using Vmm.TestSupport.Pci;

namespace Vmm.Devices.Tests.Pci;

/// <summary>A machine with scratch functions on its PCI bus, seen from the guest's side: ports and memory.</summary>
internal sealed class PciMachine : IDisposable
{
    public const ulong Ecam = 0xC000_0000, Low = 0xC010_0000, LowEnd = 0xFEC0_0000, High = 1UL << 38;
    public const int Command = 4, Bar0 = 0x10;

    private readonly BoardMachine _machine;

    public PciMachine(int functions = 1, bool pc = false, bool messages = true, ulong memory = 64 << 20)
    {
        Functions = [.. Enumerable.Range(0, functions).Select(_ => new ScratchFunction(messages))];
        Vmm.Core.Boards.IBoard board = pc ? new PcBoard() : new MicroVmBoard(new MicroVmOptions { Pci = true });
        _machine = new BoardMachine(board, b =>
        {
            for (var i = 0; i < functions; i++)
            {
                var function = Functions[i];
                b = b.AddPciFunction($"scratch{i}", _ => function);
            }

            return b;
        }, memory);
    }

    public ScratchFunction[] Functions { get; }

    public BoardMachine Board => _machine;

    public Vmm.Core.VirtualMachine Machine => _machine.Machine;

    public IoBus Mmio => _machine.Machine.Bus.Mmio;

    public IoBus Ports => _machine.Machine.Bus.Ports;

    public IReadOnlyCollection<MsiMessage> Messages => _machine.Partition.Messages;

    public static ulong ConfigAddress(int device, int register, int function = 0) => Ecam + (ulong)(device << 15 | function << 12 | register);

    public ulong Config(int device, int register, int size, int function = 0) => Mmio.Read(ConfigAddress(device, register, function), size);

    public void SetConfig(int device, int register, int size, ulong value) => Mmio.Write(ConfigAddress(device, register), size, value);

    /// <summary>Places a 32-bit BAR and switches decoding on.</summary>
    public void Place(int device, int bar, uint address, ushort command = 0x7)
    {
        SetConfig(device, Bar0 + 4 * bar, 4, address);
        SetConfig(device, Command, 2, command);
    }

    public ulong PortConfig(uint address, int size, int offset = 0)
    {
        Ports.Write(0xCF8, 4, address);
        return Ports.Read((ulong)(0xCFC + offset), size);
    }

    public void Dispose() => _machine.Dispose();
}
