using System.Runtime.InteropServices;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Interpret;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// All sites, by the number that code passes, and the translations they are in; and blocks of one instruction for those the interpreter does.
/// Sites go with the region of code that they are in. Any thread may look up a number that it has from code, while another adds.
/// </summary>
internal sealed unsafe class SiteTable : IDisposable
{
    private const int ChunkSize = 64 << 10;

    // A site's number counts these: a short one takes one of them, a long one several.
    private const int UnitSize = 8, ChunkUnits = ChunkSize / UnitSize;

    private readonly List<(nint Memory, int Region)> _chunks = [];
    // Arrays, as every exit looks into both.
    private nint[] _siteChunks = new nint[64];
    private int[] _regions = new int[64];
    // By number; there is no translation 0.
    private Translation?[] _translations = new Translation[4096];
    // Numbers that are not in use any more.
    private readonly Stack<int> _freeChunks = [], _freeTranslations = [];
    private int _siteChunkCount;
    private int _siteChunk;
    private int _translationCount = 1;
    private int _used = ChunkSize;
    private int _usedUnits = ChunkUnits;

    /// <summary>A site. Only long ones may be asked for what the second half holds.</summary>
    // SAFETY: numbers are those that Add gave, whose memory lives until Clear.
    public ref SiteEntry this[int number] => ref *(SiteEntry*)(_siteChunks[(uint)number / ChunkUnits] + (nint)((uint)number % ChunkUnits * UnitSize));

    /// <summary>The translation of a number.</summary>
    public Translation Translation(int number) => _translations[number]!;

    /// <summary>The translation of a number that may be no one's any more; then null. Any thread.</summary>
    public Translation? TryTranslation(int number)
    {
        var translations = Volatile.Read(ref _translations);
        return (uint)number < (uint)translations.Length ? translations[number] : null;
    }

    /// <summary>The translation that a site is in.</summary>
    public Translation TranslationOf(in SiteEntry site) => _translations[site.Translation]!;

    /// <summary>The region that code is added to.</summary>
    public int Region { get; private set; }

    /// <summary>All translations, those that were given up included; null where one was forgotten.</summary>
    public ReadOnlySpan<Translation?> Translations => _translations.AsSpan(1, _translationCount - 1);

    /// <summary>The number of a translation, which gets one if it has none.</summary>
    public int Number(Translation translation)
    {
        if (translation.Number == 0)
        {
            if (!_freeTranslations.TryPop(out var number))
            {
                if (_translationCount == _translations.Length) Array.Resize(ref _translations, _translationCount * 2);
                number = _translationCount++;
            }

            translation.Number = number;
            _translations[number] = translation;
        }

        return translation.Number;
    }

    public int Add(in Site site)
    {
        Number(site.Translation);
        var bytes = site.IsLong ? sizeof(SiteEntry) : UnitSize;
        if (_usedUnits + bytes / UnitSize > ChunkUnits)
        {
            if (!_freeChunks.TryPop(out _siteChunk))
            {
                if (_siteChunkCount == _siteChunks.Length)
                {
                    Array.Resize(ref _siteChunks, _siteChunkCount * 2);
                    Array.Resize(ref _regions, _siteChunkCount * 2);
                }

                _siteChunk = _siteChunkCount++;
            }

            _siteChunks[_siteChunk] = (nint)NativeMemory.Alloc(ChunkSize);
            _regions[_siteChunk] = Region;
            _usedUnits = 0;
        }

        var entry = new SiteEntry(site);
        // SAFETY: the chunk has room for as many bytes, as was just checked.
        Buffer.MemoryCopy(&entry, (byte*)_siteChunks[_siteChunk] + _usedUnits * UnitSize, bytes, bytes);
        var number = _siteChunk * ChunkUnits + _usedUnits;
        _usedUnits += bytes / UnitSize;
        return number;
    }

    /// <summary>
    /// A copy of one instruction with an op behind it that stops. Its count is that of the instructions left in its block, so that
    /// accounting by <see cref="Cpu.Vcpu.Rewind"/> comes out the same.
    /// </summary>
    public nint AddSingle(Block* block, int index, in Op op)
    {
        var size = (sizeof(Block) + 2 * sizeof(Op) + 15) & ~15;
        if (_used + size > ChunkSize)
        {
            _chunks.Add(((nint)NativeMemory.AlignedAlloc(ChunkSize, 64), Region));
            _used = 0;
        }

        // SAFETY: the chunk has room for a header and two ops, as was just checked.
        var single = (Block*)(_chunks[^1].Memory + _used);
        _used += size;
        *single = new Block { Physical = block->Physical, Mode = block->Mode, Count = (byte)(block->Count - index), Bytes = block->Bytes, Ops = 2, Code = (Op*)(single + 1) };
        var ops = single->Code;
        ops[0] = op;
        ops[1] = new Op { Handler = ControlOps.Stop };
        return (nint)single;
    }

    /// <summary>The region that a site is in.</summary>
    public int RegionOf(int site) => _regions[(uint)site / ChunkUnits];

    /// <summary>Forgets a translation, of which nothing is left.</summary>
    public void Forget(Translation translation)
    {
        _translations[translation.Number] = null;
        _freeTranslations.Push(translation.Number);
    }

    /// <summary>Forgets all sites of a region, to which code is added from now on.</summary>
    public void Begin(int region)
    {
        foreach (var (memory, _) in _chunks.Where(c => c.Region == region)) NativeMemory.AlignedFree((void*)memory);
        _chunks.RemoveAll(c => c.Region == region);
        for (var i = 0; i < _siteChunkCount; i++)
        {
            if (_siteChunks[i] == 0 || _regions[i] != region) continue;
            NativeMemory.Free((void*)_siteChunks[i]);
            _siteChunks[i] = 0;
            _freeChunks.Push(i);
        }

        (Region, _used, _usedUnits) = (region, ChunkSize, ChunkUnits);
    }

    /// <summary>Forgets all; no code may use them any more.</summary>
    public void Clear()
    {
        foreach (var (memory, _) in _chunks) NativeMemory.AlignedFree((void*)memory);
        _chunks.Clear();
        foreach (var chunk in _siteChunks.AsSpan(0, _siteChunkCount)) NativeMemory.Free((void*)chunk);
        Array.Clear(_siteChunks, 0, _siteChunkCount);
        Array.Clear(_translations, 0, _translationCount);
        _freeChunks.Clear();
        _freeTranslations.Clear();
        (_siteChunkCount, _translationCount) = (0, 1);
        (Region, _used, _usedUnits) = (0, ChunkSize, ChunkUnits);
    }

    public void Dispose() => Clear();
}
