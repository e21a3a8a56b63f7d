using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Interpret;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Decode;

/// <summary>Decodes guest bytes into a run of <see cref="Op"/>s that ends at a branch, a page end, or what may change the mode.</summary>
internal sealed unsafe class BlockBuilder
{
    /// <summary>The most instructions of a block.</summary>
    public const int MaximumCount = 48;

    /// <summary>Bytes that are enough for so many, and for seeing that the last one does not reach beyond them.</summary>
    public const int MostBytes = (MaximumCount + 1) * 15;

    private readonly Source _source = new();
    private readonly Decoder?[] _decoders = new Decoder?[CpuMode.CodeMask + 1];
    private readonly Op[] _ops = new Op[MaximumCount + 1];
    private FeatureGate _features = FeatureGate.Of(CpuModel.X86_64_V3);

    /// <summary>Sets whose instructions there are.</summary>
    public void Follow(CpuModel model) => _features = FeatureGate.Of(model);

    /// <summary>Guest instructions of the last block.</summary>
    public int Count { get; private set; }

    /// <summary>Guest bytes of the last block.</summary>
    public int Bytes { get; private set; }

    /// <summary>Bytes that the last block depends on: those behind it too if they are no instruction.</summary>
    public int Covered { get; private set; }

    /// <summary>
    /// Decodes from the start of a span. Zero instructions come back when the first one is cut off by the span's end.
    /// </summary>
    /// <param name="code">The bytes from the block's start to the end of its page (or of a copy that spans two pages).</param>
    /// <param name="mode">The <see cref="CpuMode"/> to decode for.</param>
    /// <param name="single">Only one instruction.</param>
    public ReadOnlySpan<Op> Build(ReadOnlySpan<byte> code, uint mode, bool single)
    {
        var decoder = _decoders[mode & CpuMode.CodeMask] ??= Decoder.Create((mode & CpuMode.CodeMask) switch { CpuMode.Code16 => 16, CpuMode.Code32 => 32, _ => 64 }, _source, DecoderOptions.ForceReservedNop);
        decoder.IP = 0;
        Count = Bytes = Covered = 0;
        var limit = single || (mode & CpuMode.Step) != 0 ? 1 : MaximumCount;
        var open = true;
        var shadow = false;
        fixed (byte* start = code)
        {
            _source.Set(start, code.Length);
            while (Count < limit && open)
            {
                decoder.Decode(out var instruction);
                if (decoder.LastError == DecoderError.NoMoreBytes)
                {
                    // A page's last bytes may begin an instruction that goes on in the next page; 15 bytes are never too few.
                    if (code.Length - Bytes < 15) break;
                    instruction.Code = Code.INVALID;
                }

                ref var op = ref _ops[Count];
                if (instruction.Code == Code.INVALID)
                {
                    op = new Op { Handler = ControlOps.Undefined, Offset = (ushort)Bytes, Length = 1 };
                    open = false;
                    Count++;
                    Covered = Math.Min(code.Length, Bytes + 15);
                    break;
                }

                OperandDecoder.Fill(instruction, mode, ref op);
                if (!_features.Has(instruction.Code) || !Binder.TryBind(instruction, mode, ref op)) op.Handler = ControlOps.Undefined;
                Bytes += instruction.Length;
                Count++;
                open = !Ends(instruction);
                if (shadow) open = false;
                shadow = OpensShadow(instruction);
                if (shadow && Count == limit) limit = 0;
            }
        }

        if (Count == 0) return default;
        Covered = Math.Max(Covered, Bytes);
        _ops[Count] = new Op
        {
            Handler = (mode & CpuMode.Step) != 0 ? ControlOps.StepEnd : shadow ? ControlOps.ShadowEnd : ControlOps.BlockEnd,
            Imm = (ulong)Bytes,
            Offset = (ushort)Bytes,
        };
        return _ops.AsSpan(0, Count + 1);
    }

    // Interrupts are held off for one instruction after STI and after loading SS.
    private static bool OpensShadow(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Sti or Mnemonic.Lss => true,
        Mnemonic.Mov or Mnemonic.Pop => instruction.Op0Kind == OpKind.Register && instruction.Op0Register == Register.SS,
        _ => false,
    };

    private static bool Ends(in Instruction instruction)
    {
        if (instruction.FlowControl != FlowControl.Next) return true;
        return instruction.Mnemonic switch
        {
            Mnemonic.Mov => instruction.Op0Kind == OpKind.Register && (instruction.Op0Register.IsCR() || instruction.Op0Register.IsDR()),
            Mnemonic.Wrmsr or Mnemonic.Xsetbv or Mnemonic.Lmsw or Mnemonic.Clts or Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq
                or Mnemonic.Hlt or Mnemonic.Mwait or Mnemonic.Cpuid or Mnemonic.Invlpg or Mnemonic.Invpcid or Mnemonic.Wbinvd or Mnemonic.Invd
                or Mnemonic.Stac or Mnemonic.Clac or Mnemonic.Wrpkru or Mnemonic.Pause or Mnemonic.Serialize or Mnemonic.Xrstor or Mnemonic.Xrstor64
                or Mnemonic.Xrstors or Mnemonic.Xrstors64 or Mnemonic.In or Mnemonic.Out or Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd
                or Mnemonic.Outsb or Mnemonic.Outsw or Mnemonic.Outsd => true,
            _ => false,
        };
    }

    private sealed class Source : CodeReader
    {
        private byte* _at;
        private byte* _end;

        public void Set(byte* start, int length)
        {
            _at = start;
            _end = start + length;
        }

        // SAFETY: both pointers are into the span that Build has fixed.
        public override int ReadByte() => _at < _end ? *_at++ : -1;
    }
}
