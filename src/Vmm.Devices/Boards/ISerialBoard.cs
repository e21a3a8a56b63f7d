using System.IO.Pipelines;
using Vmm.Devices.Serial;

namespace Vmm.Devices.Boards;

/// <summary>A board with places for serial ports.</summary>
internal interface ISerialBoard
{
    /// <summary>Fits one of COM1 to COM4, numbered from 0.</summary>
    Uart16550 AddSerial(int port, IDuplexPipe? host);
}
