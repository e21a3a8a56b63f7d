using System.Diagnostics;
using System.Runtime.InteropServices;
using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Translate;

/// <summary>The translated code of one vCPU: what there is, how its parts are linked, and how it is dropped.</summary>
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

    private readonly CodeMemory _memory;
    private readonly Emitter _emitter;
    private readonly Stubs _stubs;
    private readonly BlockTranslator _translator;
    private readonly BlockCache _blocks;
    private readonly int _start;
    private readonly int _hotRuns;
    private readonly uint _hotTime;
    private readonly VcpuMemory _state;
    private readonly Mmu.Windows _windows;
    private readonly PlaceTable _places;
    // Branches that are linked to other pages, and the numbers of the translations there.
    private readonly List<(int Site, int Target)> _across = [];
    private GCHandle _owner;

    private Translator(Vcpu owner, VcpuMemory state, BlockCache blocks, AddressSpaces spaces, Mmu.Windows windows, CodeMemory memory, bool counted, bool single, int threshold)
    {
        (_state, _blocks, _windows, _memory, Threshold) = (state, blocks, windows, memory, threshold);
        _emitter = new Emitter(memory);
        _stubs = new Stubs(_emitter);
        _start = _emitter.At;
        _emitter.Cold = memory.Start(0, cold: true);
        _places = new PlaceTable(Sites);
        Targets = new TargetCache(state, spaces);
        _hotRuns = Math.Max(threshold * HotFactor, 1);
        _hotTime = (uint)((long)_hotRuns * HotTime * Stopwatch.Frequency / 1_000_000_000 >> TickShift);
        _translator = new BlockTranslator(memory, _emitter, _stubs, Sites, counted, single, state, windows, _hotRuns);
        _owner = GCHandle.Alloc(owner);
        // SAFETY: the constants lie in the 32 bytes before the state, of which the memory keeps both.
        var constants = (ulong*)state.Base;
        (constants[0], constants[1], constants[2]) = ((Tlb.Size - 1) << 12, ~0xFFFUL, ~0xFF0UL);
        ref var s = ref state.State->Translator;
        (s.VectorMask, s.Aligned32Mask, s.VectorDead, s.X87Dead, s.Owner) = (0x1F80, ~0xFE0UL, 1, 1, GCHandle.ToIntPtr(_owner));
        (s.ArithmeticMask, s.InterruptMask, s.AccessMask, s.PushedMask, s.OffsetMask) = (Flags.Arithmetic, ~Flags.IF, ~Flags.AC, ~(Flags.RF | Flags.VM), 0xFFF);
        s.HalfMask = 0x800;
        const ulong loaded = Flags.Defined & ~(Flags.VM | Flags.Arithmetic);
        (s.DirectionMask, s.ModeMask, s.NestedMask, s.SysretMask, s.ReturnMask) = (~Flags.DF, Flags.TF | Flags.AC, Flags.NT, loaded & ~Flags.RF, loaded);
        (s.TimeMask, s.BasesMask, s.CanonicalMask, s.AlikeMask) = (ControlBits.Cr4Tsd, ControlBits.Cr4FsGsBase | ControlBits.Cr4La57, 0xFFFF_8000_0000_0000, 0x1FFFE);
        (s.Sign32, s.Word32, s.Bit32, s.Sign64, s.Word64, s.Bit64) = (1UL << 31, 0xFFFFFFE0, 31, 1UL << 63, ~63UL, 63);
        s.UserReturn.CodeSelector = s.KernelReturn.CodeSelector = 1;
        s.AccessCallback = (nint)(delegate* unmanaged<nint, int>)&Callbacks.Access;
        s.WindowCallback = (nint)(delegate* unmanaged<nint, int>)&Callbacks.Window;
        s.OperationCallback = (nint)(delegate* unmanaged<nint, int>)&Callbacks.Operation;
        s.TimeCallback = (nint)(delegate* unmanaged<nint, ulong>)&Callbacks.Time;
        s.X87Callback = (nint)(delegate* unmanaged<nint, int>)&Callbacks.X87;
    }

    /// <summary>Whether this host's processor has what translated code needs.</summary>
    public static bool IsSupported => HostFeatures.Has(CpuidFeature.BMI2) && HostFeatures.Has(CpuidFeature.AVX2) && (OperatingSystem.IsLinux() || OperatingSystem.IsWindows());

    /// <summary>The time by which runs are counted. It comes round.</summary>
    public static uint Now => (uint)(Stopwatch.GetTimestamp() >> TickShift);

    /// <summary>Runs in the interpreter before a block is translated.</summary>
    public int Threshold { get; }

    /// <summary>What <see cref="Block.Heat"/> is of a block that has a translation.</summary>
    public int HeatElsewhere => Threshold - Threshold * ElsewhereFactor;

    /// <summary>Where branches find their targets.</summary>
    public TargetCache Targets { get; }

    /// <summary>Where code can leave.</summary>
    public SiteTable Sites { get; } = new();

    /// <summary>Blocks translated so far, dropped ones included.</summary>
    public long Translated { get; private set; }

    /// <summary>Blocks whose translation was dropped since their code, or that of others translated with them, was written.</summary>
    public long Dropped { get; private set; }

    /// <summary>How often a region was dropped, or everything; numbers of sites do not outlive that.</summary>
    public int Flushes { get; private set; }

    /// <summary>Makes the translator of a vCPU. Null where the host lacks what it needs.</summary>
    public static Translator? TryCreate(Vcpu owner, VcpuMemory state, BlockCache blocks, AddressSpaces spaces, Mmu.Windows windows, bool counted, bool single, int threshold, int part)
    {
        if (!IsSupported) return null;
        return CodeMemory.TryCreate(part) is { } memory ? new Translator(owner, state, blocks, spaces, windows, memory, counted, single, threshold) : null;
    }

    /// <summary>Runs code until it comes back. The state is complete before and after, but for the flags: <see cref="TranslatorState.HostFlags"/>.</summary>
    // SAFETY: code is an address that this translator gave; everything it reaches from the base register outlives it.
    public ExitKind Run(nint code) => (ExitKind)((delegate* unmanaged<byte*, nint, int>)_memory.Address(_stubs.Enter))(_state.Base, code);

    /// <summary>The address of a translation's code, without the look at events.</summary>
    public nint Address(Translation translation) => _memory.Address(translation.Body);

    /// <summary>Finds a block's translation for a linear address and a privilege view.</summary>
    public Translation? Find(Block* block, ulong rip, int view) => _places.Find(block, rip, view);

    /// <summary>Translates a block. Null if its bytes changed meanwhile. No translated code may be running.</summary>
    public Translation? Translate(Block* block, ulong rip, int view, ReadOnlySpan<byte> code)
    {
        if (IsFull) NextRegion();
        _blocks.MakeRoom();
        return Add(_translator.Translate(_blocks.Unfold(block), rip, view, code, _blocks), null);
    }

    /// <summary>A block has run often: it is translated again if that did not take long. No translated code may be running.</summary>
    /// <param name="plain">The block's first translation.</param>
    /// <param name="code">Its page.</param>
    /// <param name="stack">What RSP points to.</param>
    public void Count(Translation plain, ReadOnlySpan<byte> code, ReadOnlySpan<byte> stack)
    {
        var now = Now;
        // Whoever asks for blocks to be translated early, as tests do, wants to see it.
        if (Threshold < DefaultThreshold || now - plain.Since < _hotTime)
        {
            if (IsFull) NextRegion();
            Heat(plain, code, stack);
            return;
        }

        plain.Since = now;
        _state.RunsLeft[plain.Number % VcpuMemory.Runs] = _hotRuns;
    }

    /// <summary>Translates a block again, as hot, unless its bytes changed meanwhile or there is no room.</summary>
    public void Heat(Translation plain, ReadOnlySpan<byte> code, ReadOnlySpan<byte> stack = default)
    {
        _state.RunsLeft[plain.Number % VcpuMemory.Runs] = int.MaxValue;
        if (plain.Dropped || IsFull) return;
        _blocks.MakeRoom();
        if (Add(_translator.Translate(_blocks.Unfold(plain.Block), plain.Rip, plain.View, code, _blocks, plain, stack), plain) is not { } hot) return;
        if (plain.Hot is { } before) Replace(before, hot);
        Replace(plain, hot);
        Targets.Drop(plain.View, plain.Rip);
    }

    /// <summary>An access for which a window is of no use; its block, in its first translation, is to be translated again.</summary>
    public Translation? GiveUp(int window)
    {
        var (plain, access) = _translator.OwnerOf(window);
        if (plain.Dropped || plain.Unsteady?.Count >= MostUnsteady) return null;
        (plain.Unsteady ??= []).Add(access);
        return plain;
    }

    // Who came to one translation of a block comes to another.
    private void Replace(Translation old, Translation other)
    {
        for (var site = old.Incoming; site >= 0;)
        {
            ref var incoming = ref Sites[site];
            _memory.Patch(incoming.Patch, other.Entry);
            var next = incoming.NextIncoming;
            (incoming.NextIncoming, other.Incoming) = (other.Incoming, site);
            site = next;
        }

        (old.Incoming, old.Hot) = (-1, other);
        foreach (var at in (ReadOnlySpan<int>)[old.Entry, old.Body])
        {
            _memory.Bytes[at] = 0xE9;
            _memory.Patch(at + 1, other.Entry);
        }
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
            // What is only reached from the block before is not looked for.
            if (translation.Entry != 0) _places.Add(translation);
            translation.Regions = 1 << Sites.Region;
            plain ??= translation;
            (translation.Kin, plain.Kin) = (plain.Kin, translation);
            Translated++;
        }

        return translations.Length == 0 ? null : translations[0];
    }

    /// <summary>Lets a group of accesses that lies across a page end lead to code that checks each for itself. Zero if there can be none.</summary>
    public nint TrySplit(int index, ReadOnlySpan<byte> code)
    {
        ref var site = ref Sites[index];
        var translation = Sites.TranslationOf(site);
        // Code that is running cannot be flushed.
        if (IsFull || translation.Dropped) return 0;
        _blocks.Unfold(translation.Block);
        var rest = _translator.TranslateRest(translation, site.Index, code);
        if (rest == 0) return 0;
        translation.Regions |= 1 << Sites.Region;
        // The call becomes a jump.
        _memory.Bytes[site.Patch - 1] = 0xE9;
        _memory.Patch(site.Patch, rest);
        return _memory.Address(rest);
    }

    // Whether the region has no room for another block.
    private bool IsFull => Math.Max(_emitter.At - _memory.Start(Sites.Region, cold: false), _emitter.Cold - _memory.Start(Sites.Region, cold: true)) + BlockTranslator.LargestBlock > _memory.PartBytes;

    /// <summary>Lets a branch lead straight to its target, if that is translated. Zero if not; else the target's code.</summary>
    public nint TryLink(int index)
    {
        ref var site = ref Sites[index];
        var translation = Sites.TranslationOf(site);
        if (site.Patch == 0 || translation.Dropped) return 0;
        var from = translation.Block;
        var physical = (from->Physical & ~0xFFFUL) | (site.Target & 0xFFF);
        var block = _blocks.Find(physical, from->Mode);
        if (block == null || Find(block, site.Target, translation.View) is not { } target) return 0;
        if (block->Second != 0)
        {
            LeadByLookup(ref site, translation);
            return 0;
        }

        _memory.Patch(site.Patch, site.Backward ? target.Entry : target.Body);
        (site.NextIncoming, target.Incoming) = (target.Incoming, index);
        return Address(target);
    }

    private void LeadByLookup(ref SiteEntry site, Translation translation)
    {
        if (IsFull) return;
        _memory.Patch(site.Patch, _translator.TranslateLookup(translation, site.Target, site.Backward));
        translation.Regions |= 1 << Sites.Region;
    }

    /// <summary>Whether a branch, which could be linked, leads to another page.</summary>
    public bool LeadsAcross(int index) => Sites[index].Patch != 0 && (Sites[index].Target ^ Sites.TranslationOf(Sites[index]).Rip) >> 12 != 0;

    /// <summary>Lets a branch to another page lead straight to its target, if that page is global; else by the cache of targets.</summary>
    public void LinkAcross(int index, Translation target, bool global)
    {
        ref var site = ref Sites[index];
        var translation = Sites.TranslationOf(site);
        if (translation.Dropped) return;
        if (!global || target.Block->Second != 0)
        {
            LeadByLookup(ref site, translation);
            return;
        }

        _memory.Patch(site.Patch, site.Backward ? target.Entry : target.Body);
        (site.NextIncoming, target.Incoming) = (target.Incoming, index);
        _across.Add((index, target.Number));
    }

    /// <summary>Forgets targets in one linear page, whose size is a power of two.</summary>
    public void DropPage(ulong linear, int shift)
    {
        if (Targets.TryDropPage(linear, shift) && (long)linear < 0) UnlinkAcross();
    }

    /// <summary>Forgets all targets.</summary>
    public void DropTargets()
    {
        Targets.FlushAll();
        UnlinkAcross();
    }

    private void UnlinkAcross()
    {
        foreach (var (index, number) in _across)
        {
            ref var site = ref Sites[index];
            var target = Sites.Translation(number);
            while (target.Hot is { } hot) target = hot;
            // The branch may have been linked again after its target was dropped.
            if (target.Dropped) continue;
            _memory.Patch(site.Patch, site.Stub);
            if (target.Incoming == index)
            {
                target.Incoming = site.NextIncoming;
                continue;
            }

            var before = target.Incoming;
            while (Sites[before].NextIncoming != index) before = Sites[before].NextIncoming;
            Sites[before].NextIncoming = site.NextIncoming;
        }

        _across.Clear();
    }

    public void Dispose()
    {
        Sites.Dispose();
        _memory.Dispose();
        if (_owner.IsAllocated) _owner.Free();
    }
}
