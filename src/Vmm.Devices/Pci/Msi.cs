// PCI Local Bus Specification 3.0, 6.8.1 "MSI Capability Structure" (64-bit address, per-vector masking).
using System.Buffers.Binary;
using System.Numerics;

namespace Vmm.Devices.Pci;

/// <summary>The messages of a function whose vectors are consecutive numbers from one. Its state is in configuration space.</summary>
public sealed class Msi
{
    internal const int Length = 24, Pending = 20;

    private const int Control = 2, AddressAt = 4, DataAt = 12, Mask = 16;
    private const ushort Enable = 1 << 0, Is64Bit = 1 << 7, HasMasks = 1 << 8;
    private const int CapableShift = 1, GrantedShift = 4, LargestGrant = 5;

    private readonly PciFunction _function;

    internal Msi(PciFunction function, int vectors)
    {
        if (vectors is < 1 or > 32 || !BitOperations.IsPow2(vectors)) throw new ArgumentOutOfRangeException(nameof(vectors), vectors, "MSI has 1, 2, 4, 8, 16 or 32 vectors.");
        (_function, Vectors) = (function, vectors);
    }

    /// <summary>The number of vectors that the function can use.</summary>
    public int Vectors { get; }

    /// <summary>Whether the guest has enabled it: the function's pin is then silent.</summary>
    public bool IsEnabled => (ControlWord & Enable) != 0;

    /// <summary>The number of vectors that the guest has granted.</summary>
    public int Granted => Math.Min(Vectors, 1 << Math.Min(ControlWord >> GrantedShift & 7, LargestGrant));

    internal int Offset { get; set; }

    /// <summary>The capability without id and link.</summary>
    internal byte[] Body
    {
        get
        {
            var body = new byte[Length - 2];
            BinaryPrimitives.WriteUInt16LittleEndian(body, (ushort)(BitOperations.Log2((uint)Vectors) << CapableShift | Is64Bit | HasMasks));
            return body;
        }
    }

    /// <summary>The bits of <see cref="Body"/> that the guest writes.</summary>
    internal byte[] Writable
    {
        get
        {
            var mask = new byte[Length - 2];
            BinaryPrimitives.WriteUInt16LittleEndian(mask, Enable | 7 << GrantedShift);
            BinaryPrimitives.WriteUInt64LittleEndian(mask.AsSpan(AddressAt - 2), ~3UL);
            BinaryPrimitives.WriteUInt16LittleEndian(mask.AsSpan(DataAt - 2), 0xFFFF);
            BinaryPrimitives.WriteUInt32LittleEndian(mask.AsSpan(Mask - 2), (uint)((1UL << Vectors) - 1));
            return mask;
        }
    }

    private Span<byte> Registers => _function.ConfigAt(Offset);

    private ushort ControlWord => BinaryPrimitives.ReadUInt16LittleEndian(Registers[Control..]);

    /// <summary>Sends a vector's message, or remembers it while it is masked. Vectors that were not granted share the granted ones.</summary>
    internal void Signal(int vector)
    {
        if ((uint)vector >= (uint)Vectors) return;
        var bit = 1u << (vector & (Granted - 1));
        BinaryPrimitives.WriteUInt32LittleEndian(Registers[Pending..], BinaryPrimitives.ReadUInt32LittleEndian(Registers[Pending..]) | bit);
        SendPending();
    }

    /// <summary>A mask may have gone: sends what waited for that.</summary>
    internal void SendPending()
    {
        if (!IsEnabled) return;
        var registers = Registers;
        var pending = BinaryPrimitives.ReadUInt32LittleEndian(registers[Pending..]);
        var sent = pending & ~BinaryPrimitives.ReadUInt32LittleEndian(registers[Mask..]);
        if (sent == 0) return;
        BinaryPrimitives.WriteUInt32LittleEndian(registers[Pending..], pending & ~sent);
        var address = BinaryPrimitives.ReadUInt64LittleEndian(registers[AddressAt..]);
        var data = BinaryPrimitives.ReadUInt16LittleEndian(registers[DataAt..]);
        for (var left = sent; left != 0; left &= left - 1)
        {
            _function.Send(address, (uint)(data & ~(Granted - 1) | BitOperations.TrailingZeroCount(left) & (Granted - 1)));
        }
    }
}
