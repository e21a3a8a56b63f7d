namespace Vmm.Core.Buses;

/// <summary>A message-signalled interrupt: a write to the local APICs' window (Intel SDM vol. 3, 11.11).</summary>
/// <param name="Address">0xFEExxxxx: destination id in bits 19:12, redirection hint in bit 3, logical mode in bit 2.</param>
/// <param name="Data">Vector in bits 7:0, delivery mode in 10:8, level in 14, level-triggered in 15.</param>
public readonly record struct MsiMessage(ulong Address, uint Data);
