// Intel SDM volume 1, section 13.4: standard (non-compacted) XSAVE format with x87, SSE and AVX state.
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Vmm.TestSupport.Oracle;

/// <summary>An XSAVE area with x87, SSE and AVX components (832 bytes), with its fields by name.</summary>
[InlineArray(Size)]
public struct XsaveImage
{
    /// <summary>Bytes of the area.</summary>
    public const int Size = 832;

    /// <summary>Where the sixteen upper YMM halves begin.</summary>
    public const int AvxOffset = 576;

    private const int StOffset = 32, XmmOffset = 160, HeaderOffset = 512;
    private byte _b0;

    /// <summary>The state after FNINIT with MXCSR at its default (0x1F80) and all registers zero.</summary>
    public static XsaveImage PowerOn
    {
        get
        {
            var image = default(XsaveImage);
            image.Fcw = 0x037F;
            image.Mxcsr = 0x1F80;
            image.Components = 7;
            return image;
        }
    }

    /// <summary>The x87 control word.</summary>
    public ushort Fcw { readonly get => Read16(0); set => Write16(0, value); }

    /// <summary>The x87 status word.</summary>
    public ushort Fsw { readonly get => Read16(2); set => Write16(2, value); }

    /// <summary>The abridged x87 tag word: one bit for each *physical* register, 1 = not empty.</summary>
    public byte Ftw { readonly get => this[4]; set => this[4] = value; }

    /// <summary>The x87 last opcode (11 bits).</summary>
    public ushort Fop { readonly get => Read16(6); set => Write16(6, value); }

    /// <summary>The x87 last instruction pointer (64-bit form).</summary>
    public ulong Fip { readonly get => Read64(8); set => Write64(8, value); }

    /// <summary>The x87 last data pointer (64-bit form).</summary>
    public ulong Fdp { readonly get => Read64(16); set => Write64(16, value); }

    /// <summary>The SSE control and status register.</summary>
    public uint Mxcsr
    {
        readonly get => BinaryPrimitives.ReadUInt32LittleEndian(Bytes(24, 4));
        set => BinaryPrimitives.WriteUInt32LittleEndian(MutableBytes(24, 4), value);
    }

    /// <summary>XSTATE_BV: which components the image holds (7 = x87, SSE and AVX).</summary>
    public ulong Components { readonly get => Read64(HeaderOffset); set => Write64(HeaderOffset, value); }

    /// <summary>The 64-bit mantissa of ST(<paramref name="i"/>) (relative to TOP).</summary>
    public readonly ulong StMantissa(int i) => Read64(StOffset + (16 * i));

    /// <summary>Sign and exponent of ST(<paramref name="i"/>) (relative to TOP).</summary>
    public readonly ushort StSignExponent(int i) => Read16(StOffset + (16 * i) + 8);

    /// <summary>Sets ST(<paramref name="i"/>); the tag word is not touched.</summary>
    public void SetSt(int i, ushort signExponent, ulong mantissa)
    {
        Write64(StOffset + (16 * i), mantissa);
        Write64(StOffset + (16 * i) + 8, signExponent);
    }

    /// <summary>Register YMM<paramref name="i"/>.</summary>
    public readonly Vector256<byte> Ymm(int i) => Vector256.Create(
        MemoryMarshal.Read<Vector128<byte>>(Bytes(XmmOffset + (16 * i), 16)),
        MemoryMarshal.Read<Vector128<byte>>(Bytes(AvxOffset + (16 * i), 16)));

    /// <summary>Sets register YMM<paramref name="i"/>.</summary>
    public void SetYmm(int i, Vector256<byte> value)
    {
        MemoryMarshal.Write(MutableBytes(XmmOffset + (16 * i), 16), value.GetLower());
        MemoryMarshal.Write(MutableBytes(AvxOffset + (16 * i), 16), value.GetUpper());
    }

    private readonly ushort Read16(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(Bytes(offset, 2));

    private readonly ulong Read64(int offset) => BinaryPrimitives.ReadUInt64LittleEndian(Bytes(offset, 8));

    private void Write16(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(MutableBytes(offset, 2), value);

    private void Write64(int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(MutableBytes(offset, 8), value);

    [System.Diagnostics.CodeAnalysis.UnscopedRef]
    private readonly ReadOnlySpan<byte> Bytes(int offset, int length) => ((ReadOnlySpan<byte>)this).Slice(offset, length);

    [System.Diagnostics.CodeAnalysis.UnscopedRef]
    private Span<byte> MutableBytes(int offset, int length) => ((Span<byte>)this).Slice(offset, length);
}
