// Intel SDM vol. 2: x87 control instructions; vol. 1, 8.1.10 (the state images in memory).
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.FloatingPoint;
using static Vmm.Backends.Software.Interpret.X87Stack;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Control and status words, stack pointer and tags, environments and whole images of the x87 unit.</summary>
internal static class X87ControlOps
{
    private const ushort ReservedControl = 0x40;
    private const ushort DefinedControl = 0x1F7F;

    /// <summary>FWAIT: #NM only where the task has switched and CR0.MP says that FWAIT cares.</summary>
    public static ref Op Wait(Vcpu cpu, ref Op op)
    {
        const ulong both = ControlBits.Cr0Mp | ControlBits.Cr0Ts;
        if ((cpu.S.Cr0 & both) == both) return ref cpu.Fault(ref op, Vector.NM);
        if (!TryWait(cpu)) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>FNOP.</summary>
    public static ref Op Nothing(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>FENI, FDISI, FSETPM: known to coprocessors before the 387 and nothing since.</summary>
    public static ref Op Obsolete(Vcpu cpu, ref Op op)
    {
        if (!TryBeginNoWait(cpu)) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>FINCSTP (Extra 1) and FDECSTP (Extra 7).</summary>
    public static ref Op MoveTop(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        cpu.S.X87.Top = (byte)((cpu.S.X87.Top + op.Extra) & 7);
        return ref End(cpu, ref op, 0);
    }

    /// <summary>FFREE, and FFREEP, which also pops (Extra 1).</summary>
    public static ref Op Free(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Note(cpu, ref op, false);
        ref var x = ref cpu.S.X87;
        x.Tags &= (byte)~(1 << Physical(ref x, op.A));
        Pop(ref x, op.Extra);
        return ref End(cpu, ref op, 0);
    }

    /// <summary>FNINIT.</summary>
    public static ref Op Initialize(Vcpu cpu, ref Op op)
    {
        if (!TryBeginNoWait(cpu)) return ref cpu.Fault(ref op);
        Reset(ref cpu.S.X87);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>FNCLEX.</summary>
    public static ref Op ClearExceptions(Vcpu cpu, ref Op op)
    {
        if (!TryBeginNoWait(cpu)) return ref cpu.Fault(ref op);
        cpu.S.X87.Status &= 0x7F00;
        return ref Vcpu.Next(ref op);
    }

    /// <summary>FLDCW.</summary>
    public static ref Op LoadControl(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu) || !cpu.TryLoad<ushort>(ref op, out var value)) return ref cpu.Fault(ref op);
        SetControl(ref cpu.S.X87, value);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>FNSTCW.</summary>
    public static ref Op StoreControl(Vcpu cpu, ref Op op)
    {
        if (!TryBeginNoWait(cpu) || !cpu.TryStore(ref op, cpu.S.X87.Control)) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>FNSTSW to memory.</summary>
    public static ref Op StoreStatus(Vcpu cpu, ref Op op)
    {
        if (!TryBeginNoWait(cpu) || !cpu.TryStore(ref op, StatusWord(ref cpu.S.X87))) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>FNSTSW AX.</summary>
    public static ref Op StoreStatusToAx(Vcpu cpu, ref Op op)
    {
        if (!TryBeginNoWait(cpu)) return ref cpu.Fault(ref op);
        cpu.Reg<ushort>(0) = StatusWord(ref cpu.S.X87);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>FLDENV; Size is 14 or 28.</summary>
    public static ref Op LoadEnvironment(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        if (op.Size == 14)
        {
            if (!cpu.TryLoad<Bytes14>(ref op, out var small)) return ref ImageFault(cpu, ref op);
            ReadEnvironment(cpu, small, false);
        }
        else
        {
            if (!cpu.TryLoad<Bytes28>(ref op, out var large)) return ref ImageFault(cpu, ref op);
            ReadEnvironment(cpu, large, true);
        }

        return ref Vcpu.Next(ref op);
    }

    /// <summary>FNSTENV, which masks all exceptions afterwards.</summary>
    public static ref Op StoreEnvironment(Vcpu cpu, ref Op op)
    {
        if (!TryBeginNoWait(cpu)) return ref cpu.Fault(ref op);
        bool done;
        if (op.Size == 14)
        {
            var small = default(Bytes14);
            WriteEnvironment(cpu, small, false);
            done = cpu.TryStore(ref op, small);
        }
        else
        {
            var large = default(Bytes28);
            WriteEnvironment(cpu, large, true);
            done = cpu.TryStore(ref op, large);
        }

        if (!done) return ref ImageFault(cpu, ref op);
        cpu.S.X87.Control |= (ushort)FpFlags.AllExceptions;
        Summarize(ref cpu.S.X87);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>FRSTOR; Size is 94 or 108.</summary>
    public static ref Op Restore(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        if (op.Size == 94)
        {
            if (!cpu.TryLoad<Bytes94>(ref op, out var small)) return ref ImageFault(cpu, ref op);
            ReadEnvironment(cpu, small, false);
            ReadRegisters(ref cpu.S.X87, ((ReadOnlySpan<byte>)small)[14..]);
        }
        else
        {
            if (!cpu.TryLoad<Bytes108>(ref op, out var large)) return ref ImageFault(cpu, ref op);
            ReadEnvironment(cpu, large, true);
            ReadRegisters(ref cpu.S.X87, ((ReadOnlySpan<byte>)large)[28..]);
        }

        return ref Vcpu.Next(ref op);
    }

    /// <summary>FNSAVE, which initialises the unit afterwards.</summary>
    public static ref Op Save(Vcpu cpu, ref Op op)
    {
        if (!TryBeginNoWait(cpu)) return ref cpu.Fault(ref op);
        bool done;
        if (op.Size == 94)
        {
            var small = default(Bytes94);
            WriteEnvironment(cpu, small, false);
            WriteRegisters(ref cpu.S.X87, ((Span<byte>)small)[14..]);
            done = cpu.TryStore(ref op, small);
        }
        else
        {
            var large = default(Bytes108);
            WriteEnvironment(cpu, large, true);
            WriteRegisters(ref cpu.S.X87, ((Span<byte>)large)[28..]);
            done = cpu.TryStore(ref op, large);
        }

        if (!done) return ref ImageFault(cpu, ref op);
        Reset(ref cpu.S.X87);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>The status word with TOP in its place.</summary>
    public static ushort StatusWord(ref X87State x) => (ushort)((x.Status & ~0x3800) | x.Top << 11);

    /// <summary>The state after FNINIT.</summary>
    public static void Reset(ref X87State x)
    {
        (x.Control, x.Status, x.Tags, x.Top) = (0x37F, 0, 0, 0);
        (x.LastOpcode, x.LastCs, x.LastDs, x.LastIp, x.LastDp) = (0, 0, 0, 0, 0);
    }

    // Where an image runs into a page that is not there, processors report the address of its last byte, unless already the
    // first word does.
    private static ref Op ImageFault(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        var (vector, error, address) = (s.FaultVector, s.FaultError, s.Cr2);
        if (vector == Vector.PF && (address & 0xFFF) == 0 && cpu.TryLinear(ref op, op.Size, Mmu.Access.Read, out var linear)
            && address - linear >= (op.Size is 14 or 94 ? 2u : 4u))
        {
            s.Cr2 = linear + op.Size - 1;
        }

        (s.FaultVector, s.FaultError) = (vector, error);
        return ref cpu.Fault(ref op);
    }

    private static void SetControl(ref X87State x, ushort value)
    {
        x.Control = (ushort)((value & DefinedControl) | ReservedControl);
        Summarize(ref x);
    }

    private static void ReadEnvironment(Vcpu cpu, ReadOnlySpan<byte> image, bool wide)
    {
        ref var x = ref cpu.S.X87;
        var step = wide ? 4 : 2;
        var status = Word(image, step);
        x.Status = (ushort)(status & ~0x3800);
        x.Top = (byte)(status >> 11 & 7);
        x.Tags = Abridge(Word(image, 2 * step));
        SetControl(ref x, Word(image, 0));
        uint third = Field(image, 3, wide), fourth = Field(image, 4, wide), fifth = Field(image, 5, wide), sixth = Field(image, 6, wide);
        if (IsRealFormat(cpu))
        {
            x.LastIp = (ushort)third | (wide ? (fourth & 0x0FFF_F000) << 4 : (fourth & 0xF000) << 4);
            x.LastOpcode = (ushort)(fourth & 0x7FF);
            x.LastDp = (ushort)fifth | (wide ? (sixth & 0x0FFF_F000) << 4 : (sixth & 0xF000) << 4);
            (x.LastCs, x.LastDs) = (0, 0);
        }
        else
        {
            (x.LastIp, x.LastDp) = (third, fifth);
            (x.LastCs, x.LastDs) = ((ushort)fourth, (ushort)sixth);
            x.LastOpcode = wide ? (ushort)(fourth >> 16 & 0x7FF) : (ushort)0;
        }
    }

    private static void WriteEnvironment(Vcpu cpu, Span<byte> image, bool wide)
    {
        ref var x = ref cpu.S.X87;
        // The upper halves of the words are ones, as processors write them.
        var upper = 0xFFFF_0000u;
        Put(image, 0, wide, upper | x.Control);
        Put(image, 1, wide, upper | StatusWord(ref x));
        Put(image, 2, wide, upper | TagWord(ref x));
        uint ip = (uint)x.LastIp, dp = (uint)x.LastDp;
        if (IsRealFormat(cpu))
        {
            (ip, dp) = (ip + (uint)x.LastCs * 16, dp + (uint)x.LastDs * 16);
            var (high, low) = wide ? (0x0FFF_F000u, 4) : (0xF000u, 4);
            Put(image, 3, wide, wide ? upper | (ushort)ip : ip);
            Put(image, 4, wide, (ip >> low & high) | x.LastOpcode);
            Put(image, 5, wide, wide ? upper | (ushort)dp : dp);
            Put(image, 6, wide, dp >> low & high);
        }
        else
        {
            Put(image, 3, wide, ip);
            Put(image, 4, wide, x.LastCs | (uint)x.LastOpcode << 16);
            Put(image, 5, wide, dp);
            Put(image, 6, wide, upper | x.LastDs);
        }
    }

    private static void ReadRegisters(ref X87State x, ReadOnlySpan<byte> image)
    {
        for (var i = 0; i < 8; i++, image = image[10..])
        {
            ref var register = ref x.Registers[Physical(ref x, i)];
            register.Significand = BinaryPrimitives.ReadUInt64LittleEndian(image);
            register.SignExponent = BinaryPrimitives.ReadUInt16LittleEndian(image[8..]);
        }
    }

    private static void WriteRegisters(ref X87State x, Span<byte> image)
    {
        for (var i = 0; i < 8; i++, image = image[10..])
        {
            ref var register = ref x.Registers[Physical(ref x, i)];
            BinaryPrimitives.WriteUInt64LittleEndian(image, register.Significand);
            BinaryPrimitives.WriteUInt16LittleEndian(image[8..], register.SignExponent);
        }
    }

    // Real-address and virtual-8086 mode have linear addresses instead of selectors and offsets.
    private static bool IsRealFormat(Vcpu cpu) => !cpu.ProtectedMode || cpu.Vm86;

    private static ushort Word(ReadOnlySpan<byte> image, int at) => BinaryPrimitives.ReadUInt16LittleEndian(image[at..]);

    private static uint Field(ReadOnlySpan<byte> image, int index, bool wide) =>
        wide ? BinaryPrimitives.ReadUInt32LittleEndian(image[(4 * index)..]) : Word(image, 2 * index);

    private static void Put(Span<byte> image, int index, bool wide, uint value)
    {
        if (wide) BinaryPrimitives.WriteUInt32LittleEndian(image[(4 * index)..], value);
        else BinaryPrimitives.WriteUInt16LittleEndian(image[(2 * index)..], (ushort)value);
    }

    [InlineArray(14)]
    private struct Bytes14
    {
        private byte _first;
    }

    [InlineArray(28)]
    private struct Bytes28
    {
        private byte _first;
    }

    [InlineArray(94)]
    private struct Bytes94
    {
        private byte _first;
    }

    [InlineArray(108)]
    private struct Bytes108
    {
        private byte _first;
    }
}
