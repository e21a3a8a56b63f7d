using Vmm.Core.Memory;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>What a host does to a machine that runs, of which guests must not become aware.</summary>
public enum HostDisturbance
{
    /// <summary>Memory is added and removed.</summary>
    Regions,

    /// <summary>Code is overwritten with what is there.</summary>
    Writes,

    /// <summary>All that processors know is to be forgotten.</summary>
    Flushes,

    /// <summary>Processors are kicked.</summary>
    Kicks,

    /// <summary>Dirty pages are logged, collected, and logged no more.</summary>
    DirtyLog,
}

/// <summary>Does these.</summary>
internal static class HostDisturbances
{
    /// <summary>Does one.</summary>
    /// <param name="kind">Which.</param>
    /// <param name="crew">To whom.</param>
    /// <param name="library">What they run.</param>
    /// <param name="more">Memory that may be added; it outlives the crew.</param>
    /// <param name="random">Where.</param>
    public static void Do(this HostDisturbance kind, Crew crew, LibraryProgram library, MemoryRegion more, Random random)
    {
        switch (kind)
        {
            case HostDisturbance.Regions:
                crew.Bus.Memory.Add(more);
                Thread.Yield();
                crew.Bus.Memory.Remove(more);
                break;
            case HostDisturbance.Writes:
                // The constant that each function begins with, or all of one and more.
                var function = LibraryProgram.At(random.Next(library.Count));
                var bytes = new byte[random.Next(2) == 0 ? 4 : 600];
                crew.Bus.Memory.TryRead(function + 2, bytes);
                crew.Bytes(function + 2, bytes);
                break;
            case HostDisturbance.Flushes:
                crew.Partition.Processors[random.Next(crew.Members.Length)].RequestFullFlush();
                break;
            case HostDisturbance.Kicks:
                crew.Partition.Vcpus[random.Next(crew.Members.Length)].Kick();
                break;
            default:
                var ram = crew.Bus.Memory.Find(0)!;
                crew.Partition.SetDirtyLog(ram, true);
                Thread.Yield();
                crew.Partition.CollectDirty(ram, new ulong[ram.Length / MemoryRegion.PageSize / 64]);
                crew.Partition.SetDirtyLog(ram, false);
                break;
        }

        Thread.Yield();
    }
}
