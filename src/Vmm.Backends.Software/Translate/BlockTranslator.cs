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
    /// <summary>More bytes than any block needs.</summary>
    public const int LargestBlock = 64 << 10;

    private readonly Emitter _e;
    private readonly Stubs _stubs;
    private readonly SiteTable _sites;
    private readonly CodeMemory _memory;
    private readonly Source _source = new();
    private readonly Decoder _decoder;
    private readonly InstructionInfoFactory _information = new();
    private readonly bool _counted;
    private readonly bool _single;
    private readonly Instruction[] _instructions = new Instruction[BlockBuilder.MaximumCount];
    private readonly RelocatableKind[] _kinds = new RelocatableKind[BlockBuilder.MaximumCount + 1];
    private readonly List<(int Operand, int Site, int Retry)> _misses = [];
    private readonly List<(int Operand, int Site, int Stub)> _exits = [];
    private Translation _t = null!;
    private uint _mode;
    private int _index;
    private ulong _next;

    /// <param name="memory">Where code goes.</param>
    /// <param name="e">Writes there.</param>
    /// <param name="stubs">What surrounds blocks.</param>
    /// <param name="sites">Where exits are listed.</param>
    /// <param name="counted">Time is counted in instructions: every block looks at the budget.</param>
    /// <param name="single">The machine has one processor.</param>
    public BlockTranslator(CodeMemory memory, Emitter e, Stubs stubs, SiteTable sites, bool counted, bool single)
    {
        (_memory, _e, _stubs, _sites, _counted, _single) = (memory, e, stubs, sites, counted, single);
        _decoder = Decoder.Create(64, _source, DecoderOptions.ForceReservedNop);
    }

    /// <summary>Translates a block.</summary>
    /// <param name="block">The block, decoded for 64-bit mode.</param>
    /// <param name="rip">Its linear address.</param>
    /// <param name="view">The TLB set of its privilege.</param>
    /// <param name="code">Its bytes.</param>
    /// <returns>Null if the bytes are no longer those that were decoded.</returns>
    public Translation? Translate(Block* block, ulong rip, int view, ReadOnlySpan<byte> code)
    {
        _misses.Clear();
        _exits.Clear();
        _t = new Translation { Rip = rip, Block = block, View = view };
        _mode = block->Mode;
        _source.Set(code);
        _decoder.IP = rip;
        var (vectors, x87) = Decode(block->Count);
        EmitPrologue(vectors, x87);
        var open = true;
        for (_index = 0; _index < block->Count; _index++)
        {
            ref var instruction = ref _instructions[_index];
            // SAFETY: the block has Count ops, and one closing op behind them.
            ref var op = ref System.Runtime.CompilerServices.Unsafe.Add(ref BlockCache.First(block), _index);
            if (op.Handler != ControlOps.Undefined && (instruction.Length != op.Length || instruction.IP - rip != op.Offset)) return null;
            _next = instruction.NextIP;
            open = TryEmit(ref instruction, ref op);
            if (!open) break;
        }

        if (open)
        {
            ref var closing = ref System.Runtime.CompilerServices.Unsafe.Add(ref BlockCache.First(block), block->Count);
            if (closing.Handler == ControlOps.ShadowEnd) EmitInterpret();
            else EmitLink(_next);
        }

        EmitMisses();
        return _t;
    }

    // All instructions, and whether any will be done by the host's vector or x87 unit.
    private (bool Vectors, bool X87) Decode(int count)
    {
        var (vectors, x87) = (false, false);
        for (var i = 0; i < count; i++)
        {
            _decoder.Decode(out _instructions[i]);
            _kinds[i] = Relocatable.Classify(_instructions[i], _mode);
            vectors |= _kinds[i] == RelocatableKind.Vector;
            x87 |= _kinds[i] == RelocatableKind.X87;
        }

        _kinds[count] = RelocatableKind.No;
        return (vectors, x87);
    }

    private void EmitPrologue(bool vectors, bool x87)
    {
        _t.Entry = _e.At;
        EmitEventUnlessZero(StateLayout.Events);
        // The upper half of the budget is zero until it is used up.
        if (_counted) EmitEventUnlessZero(StateLayout.Budget + 4);

        _t.Body = _counted ? _t.Entry : _e.At;
        if (_counted)
        {
            _e.Load(R14, StateLayout.Budget);
            _e.Lea(R14, R14, -1, 1, -_t.Block->Count);
            _e.Store(StateLayout.Budget, R14);
        }

        if (vectors) EmitLoad(StateLayout.VectorDead, _stubs.LoadVector);
        if (x87) EmitLoad(StateLayout.X87Dead, _stubs.LoadX87);
    }

    private void EmitEventUnlessZero(int place)
    {
        _e.Load32(Rcx, place);
        var quiet = _e.IfZero();
        _exits.Add((_e.Jump(), _sites.Add(new Site { Translation = _t }), _stubs.Event));
        _e.Bind(quiet);
    }

    // Registers that are not yet in the host's go there.
    private void EmitLoad(int dead, int stub)
    {
        _e.Load32(Rcx, dead);
        var live = _e.IfZero();
        _e.Constant(Rcx, (uint)_sites.Add(new Site { Translation = _t }));
        _e.Call(stub);
        _e.Bind(live);
    }

    // False: the block ends here.
    private bool TryEmit(ref Instruction instruction, ref Op op)
    {
        if (op.Handler == ControlOps.Undefined) return EmitInterpret();
        var start = _e.At;
        var misses = _misses.Count;
        switch (_kinds[_index])
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
        _misses.RemoveRange(misses, _misses.Count - misses);
        return _index == _t.Block->Count - 1 ? EmitInterpret() : EmitOperation(ref op);
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
        _e.Call(_stubs.Operation);
        return true;
    }

    private void EmitMisses()
    {
        _e.Switch();
        foreach (var (operand, site, retry) in _misses)
        {
            _e.Land(operand);
            _e.Constant(Rcx, (uint)site);
            _e.Call(_stubs.Access);
            _e.Jump(retry);
        }

        foreach (var (operand, site, stub) in _exits)
        {
            _e.Land(operand);
            _sites[site].Stub = _e.At;
            _e.Constant(Rcx, (uint)site);
            _e.Jump(stub);
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
