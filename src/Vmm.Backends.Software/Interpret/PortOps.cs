using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>IN, OUT, INS and OUTS: permission by IOPL and the TSS's bitmap, then the port bus.</summary>
internal static class PortOps
{
    /// <summary>A string instruction looks around after this many elements.</summary>
    private const int StringChunk = 256;

    public static ref Op In(Vcpu cpu, ref Op op)
    {
        var port = op.Extra != 0 ? cpu.Reg<ushort>(16) : (ushort)(byte)op.Imm;
        if (!cpu.TryPortAccess(port, op.Size)) return ref cpu.Fault(ref op);
        if (cpu.InterceptsPort(port, op.Size, false)) return ref cpu.Fault(ref op);
        cpu.SyncClock(ref op);
        cpu.Counters.PortReads++;
        var value = cpu.Bus.Ports.Read(port, op.Size);
        switch (op.Size)
        {
            case 1: cpu.Reg<byte>(0) = (byte)value; break;
            case 2: cpu.Reg<ushort>(0) = (ushort)value; break;
            default: cpu.SetReg(0, (uint)value); break;
        }

        return ref Vcpu.Next(ref op);
    }

    public static ref Op Out(Vcpu cpu, ref Op op)
    {
        var port = op.Extra != 0 ? cpu.Reg<ushort>(16) : (ushort)(byte)op.Imm;
        if (!cpu.TryPortAccess(port, op.Size)) return ref cpu.Fault(ref op);
        if (cpu.InterceptsPort(port, op.Size, true)) return ref cpu.Fault(ref op);
        cpu.SyncClock(ref op);
        cpu.Counters.PortWrites++;
        cpu.Bus.Ports.Write(port, op.Size, op.Size switch { 1 => cpu.Reg<byte>(0), 2 => cpu.Reg<ushort>(0), _ => cpu.Reg<uint>(0) });
        return ref Vcpu.Next(ref op);
    }

    public static ref Op InString(Vcpu cpu, ref Op op) => ref Repeat(cpu, ref op, true);

    public static ref Op OutString(Vcpu cpu, ref Op op) => ref Repeat(cpu, ref op, false);

    private static ref Op Repeat(Vcpu cpu, ref Op op, bool input)
    {
        var mask = (op.Flags & OpFlags.Address16) != 0 ? 0xFFFFUL : (op.Flags & OpFlags.Address32) != 0 ? 0xFFFFFFFFUL : ulong.MaxValue;
        var repeated = (op.Flags & (OpFlags.Rep | OpFlags.Repne)) != 0;
        var port = cpu.Reg<ushort>(16);
        var step = (cpu.S.SystemFlags & Flags.DF) != 0 ? 0UL - op.Size : op.Size;
        // The permission does not depend on the count: REP with a count of zero faults too.
        if (!cpu.TryPortAccess(port, op.Size)) return ref cpu.Fault(ref op);
        cpu.SyncClock(ref op);
        for (var done = 0; ; done++)
        {
            if (repeated && (cpu.Gpr(1) & mask) == 0) return ref Vcpu.Next(ref op);
            if (done == StringChunk)
            {
                cpu.Rewind(ref op);
                return ref cpu.Continue();
            }

            if (!TryOne(cpu, ref op, input, port, mask)) return ref cpu.Fault(ref op);
            Advance(cpu, input ? 7 : 6, step, mask);
            if (!repeated) return ref Vcpu.Next(ref op);
            Advance(cpu, 1, ulong.MaxValue, mask);
        }
    }

    private static void Advance(Vcpu cpu, int register, ulong step, ulong mask)
    {
        ref var value = ref cpu.Gpr(register);
        value = mask == 0xFFFF ? (value & ~0xFFFFUL) | ((value + step) & 0xFFFF) : (value + step) & mask;
    }

    private static bool TryOne(Vcpu cpu, ref Op op, bool input, ushort port, ulong mask)
    {
        if (cpu.InterceptsPort(port, op.Size, !input)) return false;
        var segment = input ? 0 : op.Segment;
        var offset = cpu.Gpr(input ? 7 : 6) & mask;
        var linear = offset + (cpu.Code64 && segment < 4 ? 0 : cpu.S.Seg[segment].Base);
        if (!cpu.Code64 && !cpu.TrySegment(segment, offset, op.Size, input ? Access.Write : Access.Read, out linear)) return false;
        if (!input)
        {
            ulong value;
            switch (op.Size)
            {
                case 1:
                    if (!cpu.TryRead<byte>(linear, out var b)) return false;
                    value = b;
                    break;
                case 2:
                    if (!cpu.TryRead<ushort>(linear, out var w)) return false;
                    value = w;
                    break;
                default:
                    if (!cpu.TryRead<uint>(linear, out var d)) return false;
                    value = d;
                    break;
            }

            cpu.Counters.PortWrites++;
            cpu.Bus.Ports.Write(port, op.Size, value);
            return true;
        }

        // The destination is checked before the port is read: a device must not lose a byte to a page fault.
        if (!cpu.TryProbeWrite(linear, op.Size)) return false;
        cpu.Counters.PortReads++;
        var read = cpu.Bus.Ports.Read(port, op.Size);
        return op.Size switch { 1 => cpu.TryWrite(linear, (byte)read), 2 => cpu.TryWrite(linear, (ushort)read), _ => cpu.TryWrite(linear, (uint)read) };
    }
}
