namespace Vmm.Devices.Chipset;

/// <summary>An 8-bit ISA device: the bus turns wider accesses into byte cycles at rising addresses.</summary>
internal interface IByteWide
{
    /// <summary>One byte cycle.</summary>
    byte ReadByte(uint offset);

    /// <summary>One byte cycle.</summary>
    void WriteByte(uint offset, byte value);
}
