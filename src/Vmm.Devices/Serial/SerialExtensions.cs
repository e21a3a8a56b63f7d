using System.IO.Pipelines;
using Vmm.Core;
using Vmm.Devices.Boards;

namespace Vmm.Devices.Serial;

/// <summary>Fits machines with more serial ports than their board has.</summary>
public static class SerialExtensions
{
    /// <summary>Adds one of the serial ports COM1 to COM4 that the board does not have.</summary>
    /// <param name="builder">The machine.</param>
    /// <param name="number">1 to 4.</param>
    /// <param name="host">Makes the other end, once for each machine that is built.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such port.</exception>
    public static VirtualMachineBuilder AddSerial(this VirtualMachineBuilder builder, int number, Func<IDuplexPipe> host)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(host);
        ArgumentOutOfRangeException.ThrowIfLessThan(number, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(number, BoardPorts.Serial.Length);
        return builder.AddPart(machine =>
        {
            if (machine.Board is not ISerialBoard board) throw new InvalidOperationException($"The board '{machine.Board.Name}' has no place for COM{number}; use MicroVmBoard or PcBoard.");
            board.AddSerial(number - 1, host());
        });
    }
}
