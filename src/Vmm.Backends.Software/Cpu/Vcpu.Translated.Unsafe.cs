using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;
using Vmm.Backends.Software.Translate;
using Vmm.Core.Memory;

namespace Vmm.Backends.Software.Cpu;

/// <summary>
/// Running translated code: cold blocks in the interpreter, one at a time; warm ones as machine code, which comes back only for
/// what it cannot do itself. Both work on the same state, so either can go on where the other stopped.
/// </summary>
internal sealed unsafe partial class Vcpu
{
    private Executor? _executor;
    private uint _targetsMode;
    private bool _fetchGlobal;
    private ExceptionDispatchInfo? _callbackFailure;

    /// <summary>Whether warm code is translated.</summary>
    public bool MayTranslate { get; private set; }

    /// <summary>What runs translated code, or null if everything is interpreted. It is made when code is warm for the first time, or is asked for here.</summary>
    public Executor? Executor => _executor ?? MakeExecutor();

    /// <summary>The machine's translator, likewise.</summary>
    public Translator? Translator => Executor?.Translator;

    private bool Translates => MayTranslate && (S.Mode & (CpuMode.Step | CpuMode.CodeMask)) == CpuMode.Code64 && _view != Tlb.Checked;

    private Executor? MakeExecutor()
    {
        if (!MayTranslate) return null;
        var translator = Partition.TakeTranslator();
        MayTranslate = translator is not null;
        if (translator is null) return null;
        _windows.Begin(translator.Windows, Partition.TranslateAfter == 0 ? 2 : 16, HostEntropy());
        _tlb.MakeReady();
        UpdateView();
        var executor = new Executor(this, translator, _tables);
        _executor = executor;
        // Whoever signals an event closes the cache of targets behind that, if there is one: what was signalled before is seen after this.
        Interlocked.MemoryBarrier();
        translator.Attach(executor);
        return executor;
    }

    // The same before any code is warm.
    private void RunCold()
    {
        ref var s = ref S;
        while (Translates && (Volatile.Read(ref s.Events) | (int)(s.Budget >> 63)) == 0 && s.FaultVector < 0)
        {
            if (Unsafe.IsNullRef(ref FindBlock())) return;
            if (_current != _scratch && _current->Heat >= Partition.TranslateAfter)
            {
                s.Budget += _current->Count;
                MakeExecutor();
                return;
            }

            _current->Heat++;
            Execute(ref BlockCache.First(_current));
        }
    }

    // Goes on until something waits, a fault was recorded, or the mode is one that only the interpreter runs.
    private void RunTranslated(Executor executor)
    {
        ref var s = ref S;
        var (translator, targets) = (executor.Translator, executor.Targets);
        var link = -1;
        while (Translates && (Volatile.Read(ref s.Events) | (int)(s.Budget >> 63)) == 0 && s.FaultVector < 0 && !_shutdown)
        {
            if ((s.Mode & ~CpuMode.User) != _targetsMode)
            {
                targets.FlushAll();
                _targetsMode = s.Mode & ~CpuMode.User;
                link = -1;
            }

            var across = link >= 0 && translator.LeadsAcross(link);
            var code = link >= 0 && !across ? translator.TryLink(link) : 0;
            if (code == 0 && !across) code = targets.Find(_view, s.Rip);
            if (code == 0)
            {
                if (!TryFindBlock()) return;
                var translation = Warm(executor);
                if (translation is null)
                {
                    link = -1;
                    _current = _blocks.Unfold(_current);
                    Execute(ref BlockCache.First(_current));
                    continue;
                }

                s.Budget += _current->Count;
                if (across) translator.LinkAcross(executor, link, translation, _fetchGlobal);
                code = translator.Address(translation);
            }

            link = -1;
            if (targets.Open() && Volatile.Read(ref s.Events) != 0) continue;
            s.Translator.HostFlags = s.Arithmetic | 2;
            s.Translator.NmiHeld = _nmiBlocked | _nmiPending | NmiWindowRequested ? 1 : 0;
            var exit = executor.Run(code);
            s.SetArithmetic(s.Translator.HostFlags);
            if (s.Translator.X87Saved != 0) AbsorbX87();
            FollowView();
            ref var site = ref translator.Sites[(int)s.Translator.Site];
            switch (exit)
            {
                case ExitKind.Link:
                    s.Rip = site.Target;
                    link = (int)s.Translator.Site;
                    break;
                case ExitKind.Event:
                    s.Rip = translator.Sites.TranslationOf(site).Rip;
                    break;
                case ExitKind.Hot:
                    var plain = translator.Sites.TranslationOf(site);
                    s.Rip = plain.Rip;
                    translator.Count(executor, plain, Code(plain.Block), _blocks, Stack());
                    break;
                case ExitKind.Interpret:
                    var translated = translator.Sites.TranslationOf(site);
                    _current = _blocks.Unfold(translated.Block);
                    s.Gpr[17] = translated.Rip;
                    if (!_counts) s.Budget -= _current->Count - site.Index;
                    // SAFETY: sites hold an index of an op of their block, the closing one included.
                    Execute(ref Unsafe.Add(ref BlockCache.First(_current), site.Index));
                    break;
                case ExitKind.Failed:
                    _callbackFailure!.Throw();
                    break;
            }
        }
    }

    // The translation of the block that was just found, which is made when it has been run often enough. Null: interpret it.
    private Translation? Warm(Executor executor)
    {
        ref var s = ref S;
        var block = _current;
        if (block == _scratch) return null;
        var translator = executor.Translator;
        var kept = block->Code == null ? block : block->Kept;
        var translation = kept == null ? null : translator.Find(kept, s.Rip, _view);
        if (translation is null)
        {
            // SAFETY: either lives as long as it may be run.
            ref var heat = ref (kept == null ? ref block->Heat : ref kept->Heat);
            if (++heat <= translator.Threshold) return null;
            kept = translator.Keep(executor, block);
            if (kept == null) return null;
            _current = kept;
            translation = translator.Translate(executor, kept, s.Rip, _view, Code(kept), _blocks);
            if (translation is null) return null;
            kept->Heat = translator.HeatElsewhere;
            Counters.TranslatedBlocks++;
        }

        executor.Targets.Fill(_view, s.Rip, translator.Address(translation), _fetchGlobal);
        return translation;
    }

    // What RSP points to, up to the end of the page, if the TLB has that.
    private ReadOnlySpan<byte> Stack()
    {
        var rsp = S.Gpr[RegisterMap.Rsp];
        ref var entry = ref _tlb.Writes(_view)[Tlb.Slot(rsp)];
        // SAFETY: the entry says that the page is that of host memory.
        return entry.Covers(rsp, 0) ? new ReadOnlySpan<byte>((byte*)rsp + entry.Addend, 4096 - (int)(rsp & 0xFFF)) : default;
    }

    // STAC, CLAC and what changes the privilege level in translated code only write to the state.
    private void FollowView()
    {
        var view = S.Cpl == 3 ? Tlb.User : (S.SystemFlags & Flags.AC) != 0 ? Tlb.SupervisorAc : Tlb.Supervisor;
        if (view != _view) UpdateView();
    }

    /// <summary>Translated code needs a page: fills the TLB so that the access is tried again, or has the interpreter do it.</summary>
    public ExitKind ServeAccess()
    {
        try
        {
            ref var s = ref S;
            var translator = _executor!.Translator;
            ref var site = ref translator.Sites[(int)s.Translator.Site];
            var translation = translator.Sites.TranslationOf(site);
            if (site.Crosses)
            {
                var rest = translator.TrySplit((int)s.Translator.Site, Code(translation.Block), _blocks);
                s.Translator.Return = (ulong)rest;
                return rest == 0 ? ExitKind.Interpret : 0;
            }

            var linear = s.Translator.Linear + (ulong)site.Offset;
            if ((linear & site.Alignment) != 0 || (linear & 0xFFF) + site.Size > 4096) return ExitKind.Interpret;
            var access = site.Write ? Access.Write : Access.Read;
            _current = translation.Block;
            var view = translation.View;
            var (served, dropped) = (_served, translator.Dropped);
            if (!TryTranslate(linear, access, view, out var gpa, out var global))
            {
                if (site.Alone && s.FaultVector == Vector.PF)
                {
                    // SAFETY: sites hold an index of an op of their block.
                    s.Rip = translation.Rip + Unsafe.Add(ref BlockCache.First(_blocks.Unfold(translation.Block)), site.Index).Offset;
                    if (_counts) s.Budget += _current->Count - site.Index;
                    return DeliverInside();
                }

                // The interpreter meets the same fault, or one that comes before it.
                s.FaultVector = -1;
                return ExitKind.Interpret;
            }

            var page = HostPage(gpa, linear, access, view, global);
            // The walk may have written to code, to which what called this is perhaps about to go.
            if (page == null || dropped != translator.Dropped) return ExitKind.Interpret;
            if (_marked is { } marked && !TryPassMarked(marked, translation, gpa, site.Size, linear, (nint)page, global)) return ExitKind.Interpret;
            if (dropped != translator.Dropped) return ExitKind.Interpret;
            // What was checked before counts no more if another processor took write permissions meanwhile.
            return served == _served ? 0 : ExitKind.Interpret;
        }
        catch (Exception e)
        {
            _callbackFailure = ExceptionDispatchInfo.Capture(e);
            return ExitKind.Failed;
        }
    }

    // A page fault of translated code, which goes on at the handler if that is translated too.
    private ExitKind DeliverInside()
    {
        ref var s = ref S;
        if (_counts || Volatile.Read(ref s.Events) != 0) return ExitKind.Done;
        s.SetArithmetic(s.Translator.HostFlags);
        FollowView();
        DeliverFault();
        s.Translator.HostFlags = s.Arithmetic | 2;
        if (_shutdown || !Translates || (s.Mode & ~CpuMode.User) != _targetsMode || Volatile.Read(ref s.Events) != 0) return ExitKind.Done;
        var code = _executor!.Targets.Find(_view, s.Rip);
        s.Translator.Return = (ulong)code;
        return code == 0 ? ExitKind.Done : 0;
    }

    // Whether translated code can do a write to a page with code by itself: where there is one processor, what it meets can be dropped before.
    private bool TryPassMarked(MemoryRegion region, Translation translation, ulong gpa, uint size, ulong linear, nint host, bool global)
    {
        if (!Partition.Single) return false;
        var code = Partition.CodePage(region, gpa);
        if (_tlb.TryMark(translation.View, linear, host, global, code)) return true;
        // It was looked at, and not let through: it meets code, or others of its group do, or the page is to be given up.
        var met = code->Granules & CodeMap.Granules(gpa, size);
        // Code that writes to itself stops behind that, which is the interpreter's.
        if (met == 0 || translation.IsOf(gpa, met)) return false;
        Partition.DropCode(this, region, gpa, met, release: false);
        return true;
    }

    /// <summary>The interpreter does one instruction of a translated block.</summary>
    public ExitKind ServeOperation()
    {
        try
        {
            ref var s = ref S;
            var sites = _executor!.Translator.Sites;
            ref var site = ref sites[(int)s.Translator.Site];
            var translation = sites.TranslationOf(site);
            var single = (Block*)site.Single;
            var x87 = s.Translator.X87Saved != 0;
            if (x87) AbsorbX87();
            s.SetArithmetic(s.Translator.HostFlags);
            FollowView();
            _current = single;
            s.Gpr[17] = translation.Rip;
            if (!_counts) s.Budget -= single->Count;
            // SAFETY: the block holds the instruction and an op that stops.
            ref var op = ref BlockCache.First(single);
            ref var next = ref ((delegate*<Vcpu, ref Op, ref Op>)op.Handler)(this, ref op);
            if (!Unsafe.AreSame(ref next, ref Next(ref op)))
            {
                // It left by itself, with RIP set; flags go back by the way all exits take.
                s.Translator.HostFlags = s.Arithmetic | 2;
                return ExitKind.Done;
            }

            s.Translator.HostFlags = s.Arithmetic | 2;
            if (!_counts) s.Budget += single->Count - 1;
            // Exceptions that LDMXCSR unmasks must not meet the host.
            if (!translation.Dropped && s.Mode == translation.Block->Mode && (s.Mxcsr & 0x1F80) == 0x1F80 && (!x87 || TryExportX87())) return 0;
            s.Rip = RipAfter(ref op);
            if (_counts) s.Budget += single->Count - 1;
            return ExitKind.Done;
        }
        catch (Exception e)
        {
            _callbackFailure = ExceptionDispatchInfo.Capture(e);
            return ExitKind.Failed;
        }
    }
}
