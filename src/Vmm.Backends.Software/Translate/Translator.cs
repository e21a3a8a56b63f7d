using System.Diagnostics;
using Iced.Intel;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// The translated code of a machine, which all its processors run: what there is, how its parts are linked, and how it is dropped. Any thread: what changes
/// anything takes the lock. Processors find and run code without it, so what they may be looking at is complete before it is listed, a jump is changed by one store
/// (to what is as right as before), and memory is only used again when none can have anything of it (<see cref="TryEmpty"/>).
/// </summary>
// SAFETY: what is kept of blocks lives until no processor has anything of their translations; a processor's blocks are in use while it waits for this alone.
internal sealed unsafe partial class Translator : IDisposable
{
    /// <summary>Runs of a block in the interpreter before it is translated: two thirds of a boot's blocks never get there.</summary>
    public const int DefaultThreshold = 16;

    // A block is hot if it runs so many times as often as it took to be translated, and does that within so many nanoseconds a run:
    // windows take room in the caches, which pays where code goes round and round.
    private const int HotFactor = 256, HotTime = 250;

    // Libraries are at other addresses in each process: what has a translation already must run so many times as often for another one.
    private const int ElsewhereFactor = 16;

    // Accesses of a block that are given up, at most.
    private const int MostUnsteady = 16;

    // The stopwatch's last bits say nothing here, and without them 32 bits last for an hour.
    private const int TickShift = 10;

    private readonly Lock _lock;
    private readonly List<Executor> _executors = [];
    private readonly CodeMemory _memory;
    private readonly Emitter _emitter;
    private readonly Stubs _stubs;
    private readonly BlockTranslator _translator;
    private readonly KeptBlocks _kept;
    private readonly PlaceTable _places;
    private readonly int _start;
    private readonly int _hotRuns;
    private readonly uint _hotTime;

    private Translator(CodeMemory memory, Lock @lock, bool counted, bool single, int threshold)
    {
        (_memory, _lock, Threshold) = (memory, @lock, threshold);
        _emitter = new Emitter(memory, single);
        _stubs = new Stubs(_emitter);
        _start = _emitter.At;
        _emitter.Cold = memory.Start(0, cold: true);
        _places = new PlaceTable(Sites);
        _kept = new KeptBlocks(threshold < DefaultThreshold);
        _hotRuns = Math.Max(threshold * HotFactor, 1);
        _hotTime = (uint)((long)_hotRuns * HotTime * Stopwatch.Frequency / 1_000_000_000 >> TickShift);
        _translator = new BlockTranslator(memory, _emitter, _stubs, Sites, _kept, Windows, counted, single, translation => SetRuns(translation, _hotRuns));
    }

    /// <summary>Whether this host's processor has what translated code needs.</summary>
    public static bool IsSupported => HostFeatures.Has(CpuidFeature.BMI2) && HostFeatures.Has(CpuidFeature.AVX2) && (OperatingSystem.IsLinux() || OperatingSystem.IsWindows());

    /// <summary>The time by which runs are counted. It comes round.</summary>
    public static uint Now => (uint)(Stopwatch.GetTimestamp() >> TickShift);

    /// <summary>Runs in the interpreter before a block is translated.</summary>
    public int Threshold { get; }

    /// <summary>What <see cref="Block.Heat"/> is of a block that has a translation.</summary>
    public int HeatElsewhere => Threshold - Threshold * ElsewhereFactor;

    /// <summary>Where code is entered: a function of <see cref="Executor.Run"/>.</summary>
    public nint Entrance => _memory.Address(_stubs.Enter);

    /// <summary>Where code can leave.</summary>
    public SiteTable Sites { get; } = new();

    /// <summary>The windows of hot code.</summary>
    public WindowTable Windows { get; } = new();

    /// <summary>Blocks translated so far, dropped ones included.</summary>
    public long Translated { get; private set; }

    /// <summary>Blocks whose translation was dropped since their code, or that of others translated with them, was written.</summary>
    public long Dropped { get; private set; }

    /// <summary>Makes the translator of a machine. Null where the host lacks what it needs.</summary>
    /// <param name="lock">Held while anything is changed, and by whoever drops code and asks processors to follow.</param>
    /// <param name="counted">Time is counted in instructions.</param>
    /// <param name="single">There is one processor.</param>
    /// <param name="threshold">Runs in the interpreter before a block is translated.</param>
    /// <param name="part">Bytes of either part of a region.</param>
    public static Translator? TryCreate(Lock @lock, bool counted, bool single, int threshold, int part)
    {
        if (!IsSupported) return null;
        return CodeMemory.TryCreate(part) is { } memory ? new Translator(memory, @lock, counted, single, threshold) : null;
    }

    /// <summary>A processor is about to run code.</summary>
    public void Attach(Executor executor)
    {
        lock (_lock)
        {
            // What is linked was found to be mapped alike for the others.
            UnlinkAcross();
            Windows.Attach(executor.Windows);
            foreach (var translation in Sites.Translations)
            {
                if (translation is { Plain: not 0 }) executor.SetRuns(translation.Number, _hotRuns);
            }

            _executors.Add(executor);
        }
    }

    /// <summary>The address of a translation's code, without the look at events.</summary>
    public nint Address(Translation translation) => _memory.Address(translation.Body);

    /// <summary>What is kept of a block that was translated; null for none.</summary>
    public Block* Find(ulong gpa, uint mode) => _kept.Find(gpa, mode);

    /// <summary>Finds a block's translation for a linear address and a privilege view. One that is just being made or dropped may be missed.</summary>
    /// <param name="block">What is kept of it.</param>
    /// <param name="rip">The linear address.</param>
    /// <param name="view">The TLB set of the privilege.</param>
    public Translation? Find(Block* block, ulong rip, int view) => _places.Find(block, rip, view);

    /// <summary>What the heat of a new block begins with.</summary>
    public int FirstHeat(ulong gpa) => _kept.FirstHeat(gpa);

    /// <summary>Keeps a block that is to be translated. Null if that cannot be now.</summary>
    public Block* Keep(Executor by, Block* block)
    {
        if (block->Code == null) return block;
        lock (_lock)
        {
            // A processor that has been asked to drop code may have blocks that are not what memory holds.
            if (!HasRoom() || by.Owner.HasRequests) return null;
            var kept = _translator.Keep(block);
            if (kept != null || !_kept.IsFull) return kept;
            DropAll();
            foreach (var executor in _executors) executor.Owner.RequestFullFlush();
            return null;
        }
    }

    /// <summary>Translates a block. Null if its bytes have changed meanwhile, or if it cannot be now. The processor may not be in translated code.</summary>
    /// <param name="by">The processor that asks.</param>
    /// <param name="block">What is kept of it.</param>
    /// <param name="rip">Its linear address.</param>
    /// <param name="view">The TLB set of its privilege.</param>
    /// <param name="code">Its page, or its bytes if it has a second one.</param>
    /// <param name="blocks">The processor's blocks.</param>
    public Translation? Translate(Executor by, Block* block, ulong rip, int view, ReadOnlySpan<byte> code, BlockCache blocks)
    {
        lock (_lock)
        {
            if (by.Owner.HasRequests || block->IsStale) return null;
            if (Find(block, rip, view) is { } other) return other;
            if (!HasRoom()) return null;
            blocks.MakeRoom();
            return Add(_translator.Translate(block, rip, view, code, blocks), null);
        }
    }

    /// <summary>A block has run often: it is translated again if that did not take long. The processor may not be in translated code.</summary>
    /// <param name="by">The processor that asks.</param>
    /// <param name="plain">The block's first translation.</param>
    /// <param name="code">Its page.</param>
    /// <param name="blocks">The processor's blocks.</param>
    /// <param name="stack">What RSP points to.</param>
    public void Count(Executor by, Translation plain, ReadOnlySpan<byte> code, BlockCache blocks, ReadOnlySpan<byte> stack)
    {
        lock (_lock)
        {
            if (plain.Dropped) return;
            if (plain.Hot is { Dropped: false })
            {
                // Another processor was first.
                by.SetRuns(plain.Number, int.MaxValue);
                by.Targets.Drop(plain.View, plain.Rip);
                return;
            }

            var now = Now;
            // Whoever asks for blocks to be translated early, as tests do, wants to see it.
            var hot = Threshold < DefaultThreshold || now - plain.Since < _hotTime;
            plain.Since = now;
            if (hot && HasRoom() && !by.Owner.HasRequests) Heat(by, plain, code, blocks, stack);
            else SetRuns(plain, _hotRuns);
        }
    }

    /// <summary>An access for which a window is of no use; its block, in its first translation, is to be translated again.</summary>
    public Translation? GiveUp(int window)
    {
        lock (_lock)
        {
            var (plain, access) = _translator.OwnerOf(window);
            if (plain.Dropped || plain.Unsteady?.Count >= MostUnsteady) return null;
            (plain.Unsteady ??= []).Add(access);
            return plain;
        }
    }

    /// <summary>Translates a block again, as hot, unless its bytes have changed meanwhile or there is no room.</summary>
    /// <param name="by">The processor that asks.</param>
    /// <param name="plain">The block's first translation.</param>
    /// <param name="code">Its page.</param>
    /// <param name="blocks">The processor's blocks.</param>
    /// <param name="stack">What RSP points to.</param>
    public void Heat(Executor by, Translation plain, ReadOnlySpan<byte> code, BlockCache blocks, ReadOnlySpan<byte> stack = default)
    {
        lock (_lock)
        {
            SetRuns(plain, int.MaxValue);
            if (plain.Dropped || IsFull || by.Owner.HasRequests) return;
            blocks.MakeRoom();
            if (Add(_translator.Translate(plain.Block, plain.Rip, plain.View, code, blocks, plain, stack), plain) is not { } hot) return;
            if (plain.Hot is { } before) Replace(before, hot);
            Replace(plain, hot);
            foreach (var executor in _executors)
            {
                if (executor == by) by.Targets.Drop(plain.View, plain.Rip);
                else executor.Owner.RequestDropOfTarget(plain.View, plain.Rip);
            }
        }
    }

    private void SetRuns(Translation translation, int runs)
    {
        foreach (var executor in _executors) executor.SetRuns(translation.Number, runs);
    }

    // What is made as one, and what takes its place, is dropped as one: all these are in a ring.
    private Translation? Add(ReadOnlySpan<Translation> translations, Translation? plain)
    {
        _memory.Grow(_emitter.At);
        _memory.Grow(_emitter.Cold);
        foreach (var translation in translations)
        {
            var number = Sites.Number(translation);
            translation.Next = translation.Block->Translation;
            if (translation.Next != 0) Sites.Translation(translation.Next).Previous = number;
            translation.Block->Translation = number;
            translation.Regions = 1 << Sites.Region;
            plain ??= translation;
            (translation.Kin, plain.Kin) = (plain.Kin, translation);
            Translated++;
            // What is only reached from the block before is not looked for. Others may come from here on.
            if (translation.Entry != 0) _places.Add(translation);
        }

        return translations.Length == 0 ? null : translations[0];
    }

    // Whether the region has no room for another block.
    private bool IsFull => Math.Max(_emitter.At - _memory.Start(Sites.Region, cold: false), _emitter.Cold - _memory.Start(Sites.Region, cold: true)) + BlockTranslator.LargestBlock > _memory.PartBytes;

    public void Dispose()
    {
        Sites.Dispose();
        _memory.Dispose();
        _kept.Dispose();
    }
}
