using System.Buffers.Binary;
using Vmm.Core.Buses;

namespace Vmm.Devices.Pci;

public abstract partial class PciFunction
{
    private bool _usesLine;
    private bool _interrupt;

    /// <summary>The message table, if <see cref="AddMsiX"/> has added one.</summary>
    public MsiX? MsiX { get; private set; }

    /// <summary>The message capability, if <see cref="AddMsi"/> has added one.</summary>
    public Msi? Msi { get; private set; }

    /// <summary>
    /// The level of the interrupt pin, for a device that has called <see cref="UseInterruptLine"/>. The wire follows it unless the guest has
    /// disabled the pin or enabled messages.
    /// </summary>
    protected bool InterruptLevel
    {
        get => _interrupt;
        set
        {
            if (_interrupt == value) return;
            _interrupt = value;
            if (_connection is { } connection) UpdateInterrupts(connection, Command);
        }
    }

    /// <summary>Gives the function an interrupt pin: A for function 0, then in turn.</summary>
    protected void UseInterruptLine() => _usesLine = true;

    /// <summary>Adds MSI-X, with its table and pending bits in a BAR.</summary>
    /// <param name="bar">The range that holds them.</param>
    /// <param name="vectors">1 to 2048.</param>
    /// <param name="tableOffset">Offset of the table in the range, a multiple of 8; 16 bytes a vector.</param>
    /// <param name="pendingOffset">Offset of the pending bits, a multiple of 8; 8 bytes for each 64 vectors begun.</param>
    protected MsiX AddMsiX(PciBar bar, int vectors, uint tableOffset, uint pendingOffset)
    {
        ArgumentNullException.ThrowIfNull(bar);
        if (MsiX is not null) throw new InvalidOperationException("The function has MSI-X already.");
        if (vectors is < 1 or > MsiX.MaximumVectors) throw new ArgumentOutOfRangeException(nameof(vectors), vectors, $"MSI-X has 1 to {MsiX.MaximumVectors} vectors.");
        if ((tableOffset | pendingOffset) % 8 != 0) throw new ArgumentException("Table and pending bits begin at multiples of 8.", nameof(tableOffset));
        Span<byte> body = stackalloc byte[10];
        BinaryPrimitives.WriteUInt16LittleEndian(body, (ushort)(vectors - 1));
        BinaryPrimitives.WriteUInt32LittleEndian(body[2..], tableOffset | (uint)bar.Index);
        BinaryPrimitives.WriteUInt32LittleEndian(body[6..], pendingOffset | (uint)bar.Index);
        var at = AddCapability(PciSpec.CapabilityMsiX, body, [0x00, MsiX.EnableHigh | MsiX.FunctionMaskHigh]);
        MsiX = new MsiX(this, at, vectors);
        bar.Map(tableOffset, (uint)vectors * MsiX.EntrySize, MsiX.Table);
        bar.Map(pendingOffset, (uint)(vectors + 63) / 64 * 8, MsiX.PendingBits);
        return MsiX;
    }

    /// <summary>Adds MSI, with 64-bit addresses and a mask bit for each vector.</summary>
    /// <param name="vectors">1, 2, 4, 8, 16 or 32.</param>
    protected Msi AddMsi(int vectors = 1)
    {
        if (Msi is not null) throw new InvalidOperationException("The function has MSI already.");
        Msi = new Msi(this, vectors);
        var at = AddCapability(PciSpec.CapabilityMsi, Msi.Body, Msi.Writable);
        Msi.Offset = at;
        _live.AsSpan(at + Msi.Pending, 4).Fill(0xFF);
        return Msi;
    }

    /// <summary>
    /// Sends the interrupt of a vector by MSI-X or MSI, whichever the guest has enabled. A vector that the function does not have is no
    /// interrupt.
    /// </summary>
    /// <param name="vector">The vector, from 0.</param>
    /// <returns>False when messages are not enabled: the device then uses <see cref="InterruptLevel"/>.</returns>
    protected bool RaiseInterrupt(int vector)
    {
        if (MsiX is { IsEnabled: true } msix)
        {
            msix.Signal(vector);
            return true;
        }

        if (Msi is not { IsEnabled: true } msi) return false;
        msi.Signal(vector);
        return true;
    }

    /// <summary>A message leaves the function: a memory write, of which only those to the local APICs are let through.</summary>
    internal void Send(ulong address, uint data)
    {
        if (!IsBusMaster || (address & PciSpec.MessageWindowMask) != PciSpec.MessageWindow) return;
        _connection?.Signal(new MsiMessage(address, data));
    }

    internal Span<byte> ConfigAt(int offset) => _config.AsSpan(offset);

    private bool IsInterruptControl(int offset, int size) =>
        (MsiX is { } msix && offset < msix.Offset + 4 && msix.Offset < offset + size) || (Msi is { } msi && offset < msi.Offset + Msi.Length && msi.Offset < offset + size);

    private void UpdateInterrupts(PciConnection connection, ushort command)
    {
        _config[PciSpec.Status] = (byte)(_config[PciSpec.Status] & ~PciSpec.InterruptStatus | (_interrupt && _usesLine ? PciSpec.InterruptStatus : 0));
        var messages = MsiX is { IsEnabled: true } || Msi is { IsEnabled: true };
        connection.Line.Level = _interrupt && _usesLine && !messages && (command & PciSpec.InterruptDisable) == 0;
        MsiX?.SendPending();
        Msi?.SendPending();
    }
}
