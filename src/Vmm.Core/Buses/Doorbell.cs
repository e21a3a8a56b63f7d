namespace Vmm.Core.Buses;

/// <summary>
/// An address whose write means "look": it has no effect but <paramref name="ring"/>. A backend that can (KVM's ioeventfd) serves it without
/// an exit, from a thread of its own; elsewhere the write reaches the window behind it, whose handler does the same thing. So ringing
/// must mean the same whoever rings, and several writes may arrive as one.
/// </summary>
/// <param name="bus">The bus the address is on: one of the machine's <see cref="SystemBus"/>.</param>
/// <param name="address">The first address.</param>
/// <param name="size">1, 2, 4 or 8 bytes: a write of another size is not for this doorbell.</param>
/// <param name="value">The value that rings it; null for any.</param>
/// <param name="ring">Called on any thread, without a lock held; it must not block for long or throw.</param>
public sealed class Doorbell(IoBus bus, ulong address, int size, ulong? value, Action ring)
{
    /// <summary>The bus the address is on.</summary>
    public IoBus Bus { get; } = bus;

    /// <summary>The first address.</summary>
    public ulong Address { get; } = address;

    /// <summary>The size of the write in bytes.</summary>
    public int Size { get; } = size is 1 or 2 or 4 or 8 ? size : throw new ArgumentOutOfRangeException(nameof(size), size, "A doorbell is 1, 2, 4 or 8 bytes wide.");

    /// <summary>The value that rings it; null for any.</summary>
    public ulong? Value { get; } = value;

    /// <summary>Does what the write means.</summary>
    public void Ring() => ring();

    /// <summary>Whether a write rings it.</summary>
    /// <param name="bus">The bus.</param>
    /// <param name="address">The first address.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="value">The value, zero-extended.</param>
    public bool Matches(IoBus bus, ulong address, int size, ulong value) =>
        bus == Bus && address == Address && size == Size && (Value is null || Value == value);

    /// <summary>The address and value, for messages.</summary>
    public override string ToString() => $"{Bus.Name} 0x{Address:x}/{Size}{(Value is { } v ? $" = 0x{v:x}" : "")}";
}
