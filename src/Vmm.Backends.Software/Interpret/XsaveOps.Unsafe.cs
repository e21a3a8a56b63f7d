using System.Buffers.Binary;
using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class XsaveOps
{
    /// <summary>Binds FXSAVE, FXRSTOR, the XSAVE family, XGETBV, LDMXCSR and STMXCSR.</summary>
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
        (op.Handler, op.Extra, op.Size) = instruction.Mnemonic switch
        {
            Mnemonic.Fxsave => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&SaveLegacy, (ushort)0, (byte)4),
            Mnemonic.Fxsave64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&SaveLegacy, (ushort)0, (byte)8),
            Mnemonic.Fxrstor => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&RestoreLegacy, (ushort)0, (byte)4),
            Mnemonic.Fxrstor64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&RestoreLegacy, (ushort)0, (byte)8),
            Mnemonic.Xsave => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)0, (byte)4),
            Mnemonic.Xsave64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)0, (byte)8),
            Mnemonic.Xsaveopt => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)1, (byte)4),
            Mnemonic.Xsaveopt64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)1, (byte)8),
            Mnemonic.Xsavec => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)2, (byte)4),
            Mnemonic.Xsavec64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)2, (byte)8),
            Mnemonic.Xrstor => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Restore, (ushort)0, (byte)4),
            Mnemonic.Xrstor64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Restore, (ushort)0, (byte)8),
            Mnemonic.Xgetbv => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadExtendedControl, (ushort)0, (byte)4),
            Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadMxcsr, (ushort)(instruction.Mnemonic == Mnemonic.Ldmxcsr ? 0 : 1), (byte)4),
            Mnemonic.Stmxcsr or Mnemonic.Vstmxcsr => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMxcsr, (ushort)(instruction.Mnemonic == Mnemonic.Stmxcsr ? 0 : 1), (byte)4),
            _ => ((nint)0, op.Extra, op.Size),
        };
        return op.Handler != 0;
    }

    // Page by page; in eights where each access has to be made by itself.
    private static bool TryReadBytes(Vcpu cpu, ulong linear, Span<byte> bytes)
    {
        while (bytes.Length != 0)
        {
            if (!cpu.TryRun(linear, Access.Read, out var host, out var length)) return false;
            var count = host == null ? 8 : Math.Min(length, bytes.Length);
            // SAFETY: a run has its length in bytes behind its address.
            if (host != null) new ReadOnlySpan<byte>(host, count).CopyTo(bytes);
            else if (cpu.TryRead<ulong>(linear, out var value)) BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
            else return false;
            linear += (uint)count;
            bytes = bytes[count..];
        }

        return true;
    }

    private static bool TryWriteBytes(Vcpu cpu, ulong linear, ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length != 0)
        {
            if (!cpu.TryRun(linear, Access.Write, out var host, out var length)) return false;
            var count = host == null ? 8 : Math.Min(length, bytes.Length);
            // SAFETY: a run has its length in bytes behind its address.
            if (host != null) bytes[..count].CopyTo(new Span<byte>(host, count));
            else if (!cpu.TryWrite(linear, BinaryPrimitives.ReadUInt64LittleEndian(bytes))) return false;
            linear += (uint)count;
            bytes = bytes[count..];
        }

        return true;
    }
}
