// The XSAVE area in its standard format (Intel SDM vol. 1, 10.5.1 and 13.4).
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using static System.Buffers.Binary.BinaryPrimitives;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Copies x87, SSE, AVX and protection-key state between a processor and an XSAVE area in the standard format.</summary>
internal static class XsaveImage
{
    public const ulong X87 = 1, Sse = 2, Avx = 4, Pkru = 1 << 9, All = X87 | Sse | Avx | Pkru;

    /// <summary>Offsets of the parts that follow the header, and the header's own.</summary>
    public const int Header = 512, AvxOffset = 576, PkruOffset = 2688, Size = 2696;

    /// <summary>Bits of MXCSR that may be set.</summary>
    public const uint MxcsrMask = 0xFFFF;

    public const uint InitialMxcsr = 0x1F80;

    /// <summary>The components that differ from their initial state.</summary>
    public static ulong InUse(Vcpu cpu)
    {
        ref var s = ref cpu.S;
        ulong used = 0;
        if (s.X87.Control != 0x37F || s.X87.Status != 0 || s.X87.Top != 0 || s.X87.Tags != 0 || s.X87.LastIp != 0 || s.X87.LastDp != 0 || s.X87.LastOpcode != 0) used |= X87;
        for (byte i = 0; i < 8 && (used & X87) == 0; i++)
        {
            if (s.X87.Registers[i].Significand != 0 || s.X87.Registers[i].SignExponent != 0) used |= X87;
        }

        var any = Vector256<ulong>.Zero;
        foreach (ref readonly var register in (ReadOnlySpan<Vector256<ulong>>)s.Ymm) any |= register;
        if (any.GetLower() != Vector128<ulong>.Zero) used |= Sse;
        if (any.GetUpper() != Vector128<ulong>.Zero) used |= Avx;
        if (s.Pkru != 0) used |= Pkru;
        return used;
    }

    /// <summary>Writes everything, with the header saying what is in use.</summary>
    public static void Store(Vcpu cpu, Span<byte> area)
    {
        area.Clear();
        StoreX87(cpu, area, wide: true);
        StoreMxcsr(cpu, area);
        StoreSse(cpu, area, 16);
        StoreAvx(cpu, area[AvxOffset..], 16);
        WriteUInt32LittleEndian(area[PkruOffset..], cpu.S.Pkru);
        WriteUInt64LittleEndian(area[Header..], All & (cpu.Model.Xcr0Mask | X87 | Sse));
    }

    /// <summary>Loads everything; components that the header leaves out get their initial state.</summary>
    public static void Load(Vcpu cpu, ReadOnlySpan<byte> area)
    {
        var present = ReadUInt64LittleEndian(area[Header..]);
        if ((present & X87) != 0) LoadX87(cpu, area, wide: true);
        else InitializeX87(cpu);
        cpu.S.Mxcsr = ReadUInt32LittleEndian(area[24..]) & MxcsrMask;
        if ((present & Sse) != 0) LoadSse(cpu, area, 16);
        else InitializeSse(cpu, 16);
        if ((present & Avx) != 0) LoadAvx(cpu, area[AvxOffset..], 16);
        else InitializeAvx(cpu, 16);
        cpu.S.Pkru = (present & Pkru) != 0 ? ReadUInt32LittleEndian(area[PkruOffset..]) : 0;
    }

    /// <summary>The first 24 bytes (without MXCSR) and the eight registers, as FXSAVE writes them.</summary>
    /// <param name="cpu">The processor.</param>
    /// <param name="area">The area.</param>
    /// <param name="wide">64-bit instruction and data pointers instead of 32-bit ones with selectors.</param>
    public static void StoreX87(Vcpu cpu, Span<byte> area, bool wide)
    {
        ref var x = ref cpu.S.X87;
        WriteUInt16LittleEndian(area, x.Control);
        WriteUInt16LittleEndian(area[2..], (ushort)((x.Status & ~0x3800) | ((x.Top & 7) << 11)));
        area[4] = x.Tags;
        area[5] = 0;
        WriteUInt16LittleEndian(area[6..], x.LastOpcode);
        WriteUInt64LittleEndian(area[8..], wide ? x.LastIp : (uint)x.LastIp | (ulong)x.LastCs << 32);
        WriteUInt64LittleEndian(area[16..], wide ? x.LastDp : (uint)x.LastDp | (ulong)x.LastDs << 32);
        for (var i = 0; i < 8; i++)
        {
            ref var register = ref x.Registers[(x.Top + i) & 7];
            var at = area[(32 + i * 16)..];
            WriteUInt64LittleEndian(at, register.Significand);
            WriteUInt64LittleEndian(at[8..], register.SignExponent);
        }
    }

    public static void LoadX87(Vcpu cpu, ReadOnlySpan<byte> area, bool wide)
    {
        ref var x = ref cpu.S.X87;
        var status = ReadUInt16LittleEndian(area[2..]);
        x.Control = (ushort)(ReadUInt16LittleEndian(area) & 0x1F7F | 0x40);
        x.Top = (byte)((status >> 11) & 7);
        x.Status = (ushort)(status & ~0x3800);
        x.Tags = area[4];
        x.LastOpcode = (ushort)(ReadUInt16LittleEndian(area[6..]) & 0x7FF);
        x.LastIp = wide ? ReadUInt64LittleEndian(area[8..]) : ReadUInt32LittleEndian(area[8..]);
        x.LastDp = wide ? ReadUInt64LittleEndian(area[16..]) : ReadUInt32LittleEndian(area[16..]);
        x.LastCs = wide ? (ushort)0 : ReadUInt16LittleEndian(area[12..]);
        x.LastDs = wide ? (ushort)0 : ReadUInt16LittleEndian(area[20..]);
        for (var i = 0; i < 8; i++)
        {
            ref var register = ref x.Registers[(x.Top + i) & 7];
            var at = area[(32 + i * 16)..];
            register.Significand = ReadUInt64LittleEndian(at);
            register.SignExponent = ReadUInt16LittleEndian(at[8..]);
        }

        SummarizeErrors(ref x);
    }

    public static void InitializeX87(Vcpu cpu) => cpu.S.X87 = new X87State { Control = 0x37F };

    public static void StoreMxcsr(Vcpu cpu, Span<byte> area)
    {
        WriteUInt32LittleEndian(area[24..], cpu.S.Mxcsr);
        WriteUInt32LittleEndian(area[28..], MxcsrMask);
    }

    /// <param name="cpu">The processor.</param>
    /// <param name="area">The area.</param>
    /// <param name="count">16 registers in 64-bit mode, else 8.</param>
    public static void StoreSse(Vcpu cpu, Span<byte> area, int count)
    {
        for (var i = 0; i < count; i++) MemoryMarshal.Write(area[(160 + i * 16)..], cpu.Xmm<ulong>((byte)i));
    }

    public static void LoadSse(Vcpu cpu, ReadOnlySpan<byte> area, int count)
    {
        for (var i = 0; i < count; i++) cpu.Xmm<ulong>((byte)i) = MemoryMarshal.Read<Vector128<ulong>>(area[(160 + i * 16)..]);
    }

    public static void InitializeSse(Vcpu cpu, int count)
    {
        for (var i = 0; i < count; i++) cpu.Xmm<ulong>((byte)i) = default;
    }

    public static void StoreAvx(Vcpu cpu, Span<byte> part, int count)
    {
        for (var i = 0; i < count; i++) MemoryMarshal.Write(part[(i * 16)..], cpu.XmmHigh<ulong>((byte)i));
    }

    public static void LoadAvx(Vcpu cpu, ReadOnlySpan<byte> part, int count)
    {
        for (var i = 0; i < count; i++) cpu.XmmHigh<ulong>((byte)i) = MemoryMarshal.Read<Vector128<ulong>>(part[(i * 16)..]);
    }

    public static void InitializeAvx(Vcpu cpu, int count)
    {
        for (var i = 0; i < count; i++) cpu.XmmHigh<ulong>((byte)i) = default;
    }

    // The summary and busy bits follow from the flags and their masks.
    private static void SummarizeErrors(ref X87State x) =>
        x.Status = (x.Status & ~x.Control & 0x3F) != 0 ? (ushort)(x.Status | 0x8080) : (ushort)(x.Status & 0x7F7F);
}
