using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Interpret;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Makes machine code of one decoded block, instruction by instruction. It knows no semantics: it moves operands, redirects
/// memory accesses through the TLB, and hands whatever it does not know to the interpreter's handler.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    /// <summary>More bytes than what is translated at once needs, in either region.</summary>
    public const int LargestBlock = 128 << 10;

    // Blocks that are translated as one, and with further rounds of a loop.
    private const int MaximumStraightParts = 4, MaximumParts = 8;

    // Hot code grows no further than by one block beyond so many instructions, or twice as many where it is rounds of a loop.
    private const int LongEnough = 64;
    private const int MaximumInstructions = MaximumParts * BlockBuilder.MaximumCount;

    // Runs in the interpreter that make a block worth to be translated with the one before it.
    private const int Warm = 4;

    private readonly Emitter _e;
    private readonly Stubs _stubs;
    private readonly SiteTable _sites;
    private readonly CodeMemory _memory;
    private readonly KeptBlocks _kept;
    private readonly Mmu.WindowTable _windows;
    private readonly Action<Translation> _counts;
    private readonly Source _source = new();
    private readonly Decoder _decoder;
    private readonly OperandUses _uses = new();
    private readonly bool _counted;
    private readonly bool _single;
    private readonly Instruction[] _instructions = new Instruction[MaximumInstructions];
    private readonly RelocatableKind[] _kinds = new RelocatableKind[MaximumInstructions];
    private readonly AccessPlan _plan;
    private readonly Translation[] _translations = new Translation[MaximumParts];
    // The same blocks with their instructions.
    private readonly nint[] _unfolded = new nint[MaximumParts];
    private readonly List<Miss> _misses = [];
    private readonly List<(int Operand, int Site, int Stub)> _exits = [];
    private readonly List<Find> _finds = [];
    private Translation _t = null!;
    private uint _mode;
    private bool _grouped;

    // Whether any of the blocks counts on vector registers being in the host's.
    private bool _vectors;

    // How many blocks there are, the number of the current one, its first instruction among all, and the instruction in it.
    private int _parts, _part, _first, _index;
    private ulong _next;

    /// <param name="memory">Where code goes.</param>
    /// <param name="e">Writes there.</param>
    /// <param name="stubs">What surrounds blocks.</param>
    /// <param name="sites">Where exits are listed.</param>
    /// <param name="kept">What is kept of blocks.</param>
    /// <param name="windows">The windows of hot code.</param>
    /// <param name="counted">Time is counted in instructions: every block looks at the budget.</param>
    /// <param name="single">The machine has one processor.</param>
    /// <param name="counts">Called for a translation whose runs are counted, after which it leaves to be translated as hot.</param>
    public BlockTranslator(CodeMemory memory, Emitter e, Stubs stubs, SiteTable sites, KeptBlocks kept, Mmu.WindowTable windows, bool counted, bool single, Action<Translation> counts)
    {
        (_memory, _e, _stubs, _sites, _counted, _single) = (memory, e, stubs, sites, counted, single);
        (_kept, _windows, _counts) = (kept, windows, counts);
        (_plan, _decoder) = (new AccessPlan(MaximumInstructions, _uses), Decoder.Create(64, _source, DecoderOptions.ForceReservedNop));
    }

    /// <summary>Translates a block, and those that follow it when branches are not taken, if they are warm.</summary>
    /// <param name="block">What is kept of the block, which was decoded for 64-bit mode.</param>
    /// <param name="rip">Its linear address.</param>
    /// <param name="view">The TLB set of its privilege.</param>
    /// <param name="code">Its page, or its bytes if it has a second one.</param>
    /// <param name="blocks">The processor's blocks.</param>
    /// <param name="plain">The block's first translation, to translate it as hot; else null.</param>
    /// <param name="stack">What RSP points to where the block is about to run; empty if that is not known.</param>
    /// <returns>The blocks' translations, of which only the first can be entered. Empty if the bytes are no longer those that were decoded.</returns>
    public ReadOnlySpan<Translation> Translate(Block* block, ulong rip, int view, ReadOnlySpan<byte> code, BlockCache blocks, Translation? plain = null, ReadOnlySpan<byte> stack = default)
    {
        Begin(block->Mode, plain);
        _stackBytes = Math.Min(stack.Length, _stack.Length);
        stack[.._stackBytes].CopyTo(_stack);
        _grouped = true;
        _plan.Begin(IsHot, plain?.Unsteady);
        var first = 0;
        var (vectors, x87, loops) = (false, false, false);
        for (_parts = 0; ;)
        {
            var unfolded = blocks.Unfold(block);
            _unfolded[_parts] = (nint)unfolded;
            _translations[_parts++] = new Translation { Rip = rip, Block = block, View = view };
            if (code.IsEmpty || !TryDecode(unfolded, rip, code, first)) return default;
            if (Wants(RelocatableKind.Vector, first, block->Count, ref vectors) | Wants(RelocatableKind.X87, first, block->Count, ref x87)) _plan.LoseAddend();
            for (var i = first; i < first + block->Count; i++) _plan.Add(i, _instructions[i], _kinds[i]);
            _plan.ChecksAtEntry = false;
            first += block->Count;
            if (_parts == MaximumParts || (IsHot && first >= (loops ? LongEnough * 2 : LongEnough)) || Follow(first - 1, unfolded, blocks, out rip) is var next && next == null) break;
            loops |= next == _translations[0].Block;
            block = next;
        }

        _plan.End();
        PlanWindows();
        PlanKeepers(first);
        _vectors = vectors;
        (vectors, x87) = (false, false);
        for (_part = _first = 0; _part < _parts; _part++)
        {
            _t = _translations[_part];
            EmitStart(ref vectors, ref x87);
            EmitBody((Block*)_unfolded[_part], 0);
            _first += _t.Block->Count;
        }

        EmitMisses();
        return _translations.AsSpan(0, _parts);
    }

    /// <summary>The same block from one of its instructions on, with each access checked by itself: for groups that lie across a page end.</summary>
    /// <returns>Where it is; zero if the bytes are no longer those that were decoded.</returns>
    public int TranslateRest(Translation translation, int index, ReadOnlySpan<byte> code, BlockCache blocks)
    {
        Begin(translation.Block->Mode);
        _grouped = false;
        _t = translation;
        (_parts, _part, _first) = (1, 0, 0);
        var unfolded = blocks.Unfold(translation.Block);
        if (code.IsEmpty || !TryDecode(unfolded, translation.Rip, code, 0)) return 0;
        _vectors = _kinds.AsSpan(0, translation.Block->Count).Contains(RelocatableKind.Vector);
        var start = _e.At;
        _e.Forget();
        EmitBody(unfolded, index);
        EmitMisses();
        return start;
    }

    /// <summary>Code that a branch within a page leads to where its target goes on in the next page, which may not be mapped as it was.</summary>
    /// <returns>Where it is.</returns>
    public int TranslateLookup(Translation from, ulong target, bool backward)
    {
        Begin(from.Block->Mode);
        (_t, _index) = (from, 0);
        var start = _e.At;
        EmitLookup(target, from.View, backward);
        EmitMisses();
        return start;
    }

    private void Begin(uint mode, Translation? plain = null)
    {
        _plain = plain;
        _misses.Clear();
        _windowMisses.Clear();
        _exits.Clear();
        _finds.Clear();
        Array.Clear(_checked);
        (_mode, _barrier, _addendOf, _keeps) = (mode, 1, -1, false);
        (_pointer, _notedSince) = (null, 0);
    }

    private bool TryDecode(Block* block, ulong rip, ReadOnlySpan<byte> code, int first)
    {
        _source.Set(code.Slice(block->Second == 0 ? (int)(rip & 0xFFF) : 0, block->Bytes));
        _decoder.IP = rip;
        for (var i = 0; i < block->Count; i++)
        {
            ref var instruction = ref _instructions[first + i];
            _decoder.Decode(out instruction);
            // SAFETY: the block has Count ops.
            ref var op = ref System.Runtime.CompilerServices.Unsafe.Add(ref BlockCache.First(block), i);
            var undefined = op.Handler == ControlOps.Undefined;
            if (!undefined && (instruction.Length != op.Length || instruction.IP - rip != op.Offset)) return false;
            _kinds[first + i] = undefined ? RelocatableKind.No : Relocatable.Classify(instruction, _mode, _counted);
        }

        return true;
    }

    private void EmitBody(Block* block, int from)
    {
        var open = true;
        for (_index = from; _index < block->Count; _index++)
        {
            ref var instruction = ref _instructions[_first + _index];
            _next = instruction.NextIP;
            // SAFETY: the block has Count ops, and one closing op behind them.
            open = TryEmit(ref instruction, ref System.Runtime.CompilerServices.Unsafe.Add(ref BlockCache.First(block), _index));
            if (!open) return;
        }

        EmitPointer();
        ref var closing = ref System.Runtime.CompilerServices.Unsafe.Add(ref BlockCache.First(block), block->Count);
        if (closing.Handler == ControlOps.ShadowEnd) EmitInterpret();
        else EmitNext(_next);
    }

    // The first block can be entered; the others are reached from the one before.
    private void EmitStart(ref bool vectors, ref bool x87)
    {
        _index = 0;
        if (_part == 0) _e.Forget();
        if (_part == 0 && IsHot)
        {
            EmitEntry(!_counted && Wants(RelocatableKind.Vector, _first, _t.Block->Count, ref vectors), !_counted && Wants(RelocatableKind.X87, _first, _t.Block->Count, ref x87));
        }
        else
        {
            var promote = 0;
            if (_part == 0)
            {
                if (WantsHeat())
                {
                    promote = _e.At;
                    _exits.Add((_e.Jump(), _sites.Add(new Site { Translation = _t }), _stubs.Hot));
                }

                _t.Entry = _e.At;
            }

            if (_part == 0 || _counted) EmitEventUnlessZero(StateLayout.Events);
            // The upper half of the budget is zero until it is used up.
            if (_counted) EmitEventUnlessZero(StateLayout.Budget + 4);
            if (_part == 0)
            {
                _t.Body = _counted ? _t.Entry : _e.At;
                if (promote != 0) EmitCountdown(promote);
                else _t.Plain = _e.At;
            }
        }

        if (_counted)
        {
            _e.Load(R14, StateLayout.Budget);
            _e.Lea(R14, R14, -1, 1, -_t.Block->Count);
            _e.Store(StateLayout.Budget, R14);
        }

        if (Wants(RelocatableKind.Vector, _first, _t.Block->Count, ref vectors)) EmitLoad(StateLayout.VectorDead, _stubs.LoadVector);
        if (Wants(RelocatableKind.X87, _first, _t.Block->Count, ref x87)) EmitLoad(StateLayout.X87Dead, _stubs.LoadX87);
        if (_part == 0) EmitKeepers();
    }

    private void EmitEventUnlessZero(int place)
    {
        _e.Load32(Rcx, place);
        var quiet = _e.IfZero();
        _exits.Add((_e.Jump(), _sites.Add(new Site { Translation = _t }), _stubs.Event));
        _e.Bind(quiet);
    }

    // False: the block ends here.
    private bool TryEmit(ref Instruction instruction, ref Op op)
    {
        if (op.Handler == ControlOps.Undefined || !Stays(instruction)) EmitPointer();
        if (op.Handler == ControlOps.Undefined) return EmitInterpret();
        var keeps = _kinds[_first + _index] is RelocatableKind.Nothing or RelocatableKind.Integer || instruction.Mnemonic == Mnemonic.Lea || instruction.FlowControl == FlowControl.ConditionalBranch;
        if (!keeps) _e.Forget();
        var open = TryEmitKept(ref instruction, ref op);
        if (!keeps) _e.Forget();
        return open;
    }

    private bool TryEmitKept(ref Instruction instruction, ref Op op)
    {
        var start = _e.At;
        var (misses, windowMisses) = (_misses.Count, _windowMisses.Count);
        switch (_kinds[_first + _index])
        {
            case RelocatableKind.Nothing: return true;
            case RelocatableKind.Integer or RelocatableKind.Vector:
                if (TryRelocate(ref instruction)) return true;
                break;
            case RelocatableKind.X87:
                if (TryEmitX87(ref instruction, ref op)) return true;
                break;
            case RelocatableKind.Stack:
                if (TryEmitStack(instruction)) return true;
                break;
            case RelocatableKind.FarBit:
                if (TryEmitFarBit(ref instruction, ref op)) return true;
                break;
            case RelocatableKind.Wide:
                if (TryEmitWideExchange(instruction)) return true;
                break;
            case RelocatableKind.System: return EmitSystem(instruction, ref op);
            case RelocatableKind.Divide:
                EmitDivide(instruction);
                return true;
            case RelocatableKind.Branch: return EmitBranch(instruction);
        }

        // What was begun is overwritten.
        _e.At = start;
        _e.Forget();
        _barrier++;
        _misses.RemoveRange(misses, _misses.Count - misses);
        _windowMisses.RemoveRange(windowMisses, _windowMisses.Count - windowMisses);
        EmitPointer();
        return _index == _t.Block->Count - 1 ? EmitLast(instruction, ref op) : EmitString(instruction, ref op) || EmitOperation(ref op);
    }

    // The interpreter does the rest of the block.
    private bool EmitInterpret()
    {
        _e.Constant(Rcx, (uint)_sites.Add(new Site { Translation = _t, Index = _index }));
        _e.Jump(_stubs.Interpret);
        return false;
    }

    // The interpreter does this instruction and comes back.
    private bool EmitOperation(ref Op op)
    {
        var single = _sites.AddSingle(_t.Block, _index, op);
        _e.Constant(Rcx, (uint)_sites.Add(new Site { Translation = _t, Index = _index, Single = single }));
        _e.Call(_vectors ? _stubs.VectorOperation : _stubs.Operation);
        _e.Forget();
        _barrier++;
        return true;
    }

    // A repeated string instruction by the host's, or if that cannot be by the interpreter.
    private bool EmitString(in Instruction instruction, ref Op op)
    {
        var shift = instruction.Code switch
        {
            Code.Movsb_m8_m8 or Code.Stosb_m8_AL => 0,
            Code.Movsd_m32_m32 or Code.Stosd_m32_EAX => 2,
            Code.Movsq_m64_m64 or Code.Stosq_m64_RAX => 3,
            _ => -1,
        };
        var moves = instruction.Mnemonic is Mnemonic.Movsb or Mnemonic.Movsd or Mnemonic.Movsq;
        // The second prefix says the same; a segment's base and short addresses are left to the interpreter.
        if (shift < 0 || !(instruction.HasRepPrefix || instruction.HasRepnePrefix) || instruction.SegmentPrefix != Register.None
            || (moves ? instruction.Op1Kind != OpKind.MemorySegRSI || instruction.Op0Kind != OpKind.MemoryESRDI : instruction.Op0Kind != OpKind.MemoryESRDI)) return false;
        var single = _sites.AddSingle(_t.Block, _index, op);
        _e.Constant(Rcx, (uint)_sites.Add(new Site { Translation = _t, Index = _index, Single = single }));
        _e.Call(_stubs.Strings.Of(_t.View, moves, shift));
        var done = _e.IfZero();
        _e.Call(_vectors ? _stubs.VectorOperation : _stubs.Operation);
        _e.Bind(done);
        _barrier++;
        return true;
    }

    private void EmitMisses()
    {
        _e.Switch();
        foreach (var miss in _misses) EmitMiss(miss);
        foreach (var miss in _windowMisses) EmitWindowMiss(miss);

        foreach (var (operand, site, stub) in _exits)
        {
            _e.Land(operand);
            _sites[site].Stub = _e.At;
            _e.Constant(Rcx, (uint)site);
            _e.Jump(stub);
        }

        foreach (var find in _finds)
        {
            _e.Land(find.Operand);
            _e.Constant(Rcx, (uint)find.Site);
            if (find.Target is { } target) _e.Constant(Linear, target);
            _e.Call(find.Stub);
            _e.Jump(find.Retry);
        }

        _e.Switch();
    }

    private sealed class Source : CodeReader
    {
        private readonly byte[] _bytes = new byte[4096];
        private int _at;
        private int _length;

        public void Set(ReadOnlySpan<byte> code)
        {
            code.CopyTo(_bytes);
            (_at, _length) = (0, code.Length);
        }

        public override int ReadByte() => _at < _length ? _bytes[_at++] : -1;
    }
}
