using Vmm.Core.Memory;
using Vmm.Backends.Software.Translate;
using Xunit;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// All at once, as a seed says: some processors run a library, disturb one another and are disturbed from outside, while others run a routine that
/// is exchanged. VMM_MESH_ROUNDS says how many seeds there are, and VMM_MESH_SEED which is the first.
/// </summary>
public sealed class SharedStressTests
{
    private const int Versions = 100;

    [Fact]
    public void RandomCrews_DoTheSameAsEachAlone()
    {
        var (first, rounds) = (Number("VMM_MESH_SEED", 0), Number("VMM_MESH_ROUNDS", 4));
        for (var seed = first; seed < first + rounds; seed++)
        {
            try
            {
                Check(seed);
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                throw new InvalidOperationException($"VMM_MESH_SEED={seed} VMM_MESH_ROUNDS=1: {e.Message}", e);
            }
        }
    }

    private static int Number(string variable, int otherwise) => int.TryParse(Environment.GetEnvironmentVariable(variable), out var number) ? number : otherwise;

    private static void Check(int seed)
    {
        var random = new Random(seed);
        int translateAfter = ((int[])[0, 0, 2, 4, 8, 16])[random.Next(6)], functions = ((int[])[16, 64, 400, 2000])[random.Next(4)];
        var part = random.Next(3) == 0 ? Cramped.CodePart : CodeMemory.DefaultPart;
        // Callers of the library, then readers; the writer is the host, or one between them.
        int callers = random.Next(1, 4), writers = random.Next(2), vcpus = callers + writers + random.Next(0, 3 - callers / 2);
        var (alike, meets, rounds) = (random.Next(2) == 0, random.Next(8) == 0, random.Next(100, 1500));
        if (meets) rounds /= 8;
        var disturbance = (LibraryProgram.Disturbance)random.Next(8);
        var kinds = Enum.GetValues<HostDisturbance>().Where(_ => random.Next(3) == 0).ToArray();
        var readers = callers + writers;
        if (readers == vcpus) (writers, vcpus, readers) = (0, callers, callers);
        LibraryProgram Library() => new(seed, functions, meets && vcpus == callers, disturbance);
        var library = Library();
        using var more = MemoryRegion.Allocate("more", 0x1000000, 1 << 20);
        using var crew = library.Make(translateAfter, vcpus, rounds, alike, part);
        using var oracle = Library().Make(Crew.Interpreted, vcpus, rounds, alike);
        // They have page tables of their own, so that it is no page that is exchanged.
        var routine = new PatchedRoutine((PatchKind)random.Next((int)PatchKind.Mapping), (PatchPlace)random.Next(3), random.Next(4));
        if (vcpus > callers)
        {
            crew.DoNotMeet();
            routine.Prepare(crew, writers == 0 ? null : callers, readers, Versions, exchange: random.Next(2) == 0);
        }

        foreach (var member in Enumerable.Range(0, vcpus).OrderBy(_ => random.Next()))
        {
            crew.Launch(member);
            if (vcpus > callers && member < callers && random.Next(4) == 0) crew.WaitFor(() => crew.TranslatedBlocks > 20 || !crew.IsRunning(member));
        }

        var version = 0u;
        while (Enumerable.Range(0, callers).Any(crew.IsRunning))
        {
            if (kinds.Length != 0) kinds[random.Next(kinds.Length)].Do(crew, library, more, random);
            else Thread.Yield();
            if (vcpus == callers || writers != 0 || version == Versions - 1 || !PatchedRoutine.IsAnswered(crew, vcpus - readers, version)) continue;
            routine.Write(crew, ++version, last: false);
        }

        if (writers != 0)
        {
            PatchedRoutine.BeEnough(crew);
        }
        else if (vcpus > callers)
        {
            crew.WaitFor(() => PatchedRoutine.IsAnswered(crew, vcpus - readers, version));
            routine.Write(crew, version + 1, last: true);
        }

        crew.Join().AssertAlike(oracle, vcpus == callers ? null : callers);
        if (vcpus > callers) PatchedRoutine.AssertRight(crew, readers, Versions, least: 1);
    }
}
