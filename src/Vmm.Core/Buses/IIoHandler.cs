namespace Vmm.Core.Buses;

/// <summary>
/// Serves the guest's accesses to one window of ports or memory. It sees offsets, never addresses. The bus holds the
/// device's lock around each call, so an implementation is written as if single-threaded; it must not block or allocate.
/// </summary>
public interface IIoHandler
{
    /// <summary>The guest reads.</summary>
    /// <param name="offset">Byte offset from the start of the window; any alignment.</param>
    /// <param name="size">1, 2, 4 or 8 bytes, all within the window.</param>
    /// <returns>The value in the low <paramref name="size"/> bytes; the rest is ignored.</returns>
    ulong Read(uint offset, int size);

    /// <summary>The guest writes.</summary>
    /// <param name="offset">Byte offset from the start of the window; any alignment.</param>
    /// <param name="size">1, 2, 4 or 8 bytes, all within the window.</param>
    /// <param name="value">The value, zero-extended.</param>
    void Write(uint offset, int size, ulong value);
}
