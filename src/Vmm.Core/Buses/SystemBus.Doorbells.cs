using System.Collections.Immutable;

namespace Vmm.Core.Buses;

public sealed partial class SystemBus
{
    private readonly Lock _doorbellChanges = new();
    private ImmutableArray<Doorbell> _doorbells = [];

    /// <summary>The doorbells that are there now, in the order they were added.</summary>
    public ImmutableArray<Doorbell> Doorbells => _doorbells;

    /// <summary>Raised, under an internal lock, after a doorbell was added. A handler may ring but not add or remove.</summary>
    public event Action<Doorbell>? DoorbellAdded;

    /// <summary>Raised, under an internal lock, after a doorbell was removed. When the handlers have returned no backend rings it any more.</summary>
    public event Action<Doorbell>? DoorbellRemoved;

    /// <summary>Offers an address to backends that serve doorbells without an exit. The window behind it stays as it is.</summary>
    /// <param name="doorbell">The doorbell, on this object's ports or memory bus.</param>
    /// <exception cref="ArgumentException">It is on another machine's bus, or one that is there answers the same write.</exception>
    public void AddDoorbell(Doorbell doorbell)
    {
        ArgumentNullException.ThrowIfNull(doorbell);
        if (doorbell.Bus != Ports && doorbell.Bus != Mmio) throw new ArgumentException($"The doorbell {doorbell} is on the bus of another machine.", nameof(doorbell));
        lock (_doorbellChanges)
        {
            foreach (var other in _doorbells)
            {
                var same = other.Bus == doorbell.Bus && other.Address == doorbell.Address && other.Size == doorbell.Size;
                if (same && (other.Value is null || doorbell.Value is null || other.Value == doorbell.Value)) throw new ArgumentException($"The doorbell {doorbell} and the doorbell {other} answer the same write.", nameof(doorbell));
            }

            _doorbells = _doorbells.Add(doorbell);
            DoorbellAdded?.Invoke(doorbell);
        }
    }

    /// <summary>Takes a doorbell back. A ring that is under way on another thread may still finish.</summary>
    /// <param name="doorbell">One that was added.</param>
    /// <returns>Whether it was there.</returns>
    public bool RemoveDoorbell(Doorbell doorbell)
    {
        lock (_doorbellChanges)
        {
            var kept = _doorbells.Remove(doorbell);
            if (kept.Length == _doorbells.Length) return false;
            _doorbells = kept;
            DoorbellRemoved?.Invoke(doorbell);
            return true;
        }
    }
}
