using Vmm.Core.Buses;

namespace Vmm.Devices.Pci;

/// <summary>What a slot gives the function in it.</summary>
/// <param name="Address">Device number in bits 7:3, function number in bits 2:0.</param>
/// <param name="Decoder">Claims its ranges.</param>
/// <param name="Line">The wire of its interrupt pin.</param>
/// <param name="LineNumber">The interrupt that is on, as firmware would leave it in the interrupt line register.</param>
/// <param name="Signal">Delivers its messages.</param>
internal sealed record PciConnection(int Address, PciDecoder Decoder, InterruptLine Line, byte LineNumber, Action<MsiMessage> Signal);
