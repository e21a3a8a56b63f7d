using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>The quick halves of the repeated string instructions: straight on host memory, a page at a time.</summary>
internal static unsafe partial class StringOps
{
    /// <summary>
    /// Host memory of the operand at an index register, and how many elements lie before the page, the segment or the address size
    /// ends: zero if the next one must be done by itself. False with a fault recorded.
    /// </summary>
    private static bool TryRun<T>(Vcpu cpu, ref Op op, byte register, int segment, Access access, out T* host, ref int count) where T : unmanaged
    {
        host = null;
        var wanted = access == Access.Write && !Backward(cpu) ? Math.Min(count, 4096) * sizeof(T) : 0;
        if (!TryAddress(cpu, ref op, register, segment, sizeof(T), access, out var linear) || !cpu.TryRun(linear, access, out var run, out var length, wanted)) return false;
        host = (T*)run;
        var offset = cpu.Reg<ulong>(register) & op.Imm;
        if (run == null || length < sizeof(T))
        {
            count = 0;
        }
        else if (Backward(cpu))
        {
            // Downwards from here to the page's first whole element, and not below offset zero.
            var room = Math.Min((linear & 0xFFF) / (uint)sizeof(T), offset / (uint)sizeof(T)) + 1;
            // An expand-down segment has its limit below.
            if (op.Extra == 0 && (cpu.Seg(segment).Attributes & 0x1C) == 0x14) room = 0;
            count = (int)Math.Min((uint)count, room);
        }
        else
        {
            var last = op.Imm;
            if (op.Extra == 0)
            {
                ref var s = ref cpu.Seg(segment);
                if ((s.Attributes & 0x1C) != 0x14) last = Math.Min(last, s.Limit);
                else if ((s.Attributes & 0x4000) == 0) last = Math.Min(last, 0xFFFF);
            }

            // Bytes up to and with the last one; more than a page's worth does not matter.
            var room = Math.Min(Math.Min(last - offset, 4095) + 1, (uint)length) / (uint)sizeof(T);
            count = (int)Math.Min((uint)count, room);
        }

        return true;
    }

    // The framework's own loops are quick for its own types only.
    // SAFETY: the caller's run holds count elements.
    private static void Fill<T>(T* at, int count, T value) where T : unmanaged
    {
        switch (sizeof(T))
        {
            case 1: new Span<byte>(at, count).Fill((byte)Width.Zero(value)); break;
            case 2: new Span<ushort>(at, count).Fill((ushort)Width.Zero(value)); break;
            case 4: new Span<uint>(at, count).Fill((uint)Width.Zero(value)); break;
            default: new Span<ulong>(at, count).Fill(Width.Zero(value)); break;
        }
    }

    /// <summary>Where <paramref name="value"/> is, or the first that is not it; -1 if nowhere.</summary>
    // SAFETY: the caller's run holds count elements.
    private static int Find<T>(T* at, int count, ulong value, bool other) where T : unmanaged
    {
        switch (sizeof(T))
        {
            case 1:
                var bytes = new ReadOnlySpan<byte>(at, count);
                return other ? bytes.IndexOfAnyExcept((byte)value) : bytes.IndexOf((byte)value);
            case 2:
                var words = new ReadOnlySpan<ushort>(at, count);
                return other ? words.IndexOfAnyExcept((ushort)value) : words.IndexOf((ushort)value);
            case 4:
                var doubles = new ReadOnlySpan<uint>(at, count);
                return other ? doubles.IndexOfAnyExcept((uint)value) : doubles.IndexOf((uint)value);
            default:
                var quads = new ReadOnlySpan<ulong>(at, count);
                return other ? quads.IndexOfAnyExcept(value) : quads.IndexOf(value);
        }
    }

    private readonly partial struct Move
    {
        public static int Run<T>(Vcpu cpu, ref Op op, int most) where T : unmanaged
        {
            var count = most;
            if (!TryRun<T>(cpu, ref op, Rsi, op.Segment, Access.Read, out var from, ref count)) return -1;
            if (count == 0) return 0;
            if (!TryRun<T>(cpu, ref op, Rdi, 0, Access.Write, out var to, ref count)) return -1;
            if (count == 0) return 0;
            var bytes = (long)count * sizeof(T);
            var step = Step<T>(cpu);
            Volatile.WriteBarrier();
            // SAFETY: TryRun gave host memory for count elements in the direction of the copy, all in one page each.
            if (step < 0)
            {
                for (var i = 0; i < count; i++) Unsafe.WriteUnaligned(to - i, Unsafe.ReadUnaligned<T>(from - i));
            }
            else if ((ulong)((byte*)to - (byte*)from) < (ulong)bytes)
            {
                // The target begins inside the source: elements just written are read again, which repeats a pattern.
                for (var i = 0; i < count; i++) Unsafe.WriteUnaligned(to + i, Unsafe.ReadUnaligned<T>(from + i));
            }
            else
            {
                Buffer.MemoryCopy(from, to, bytes, bytes);
            }

            cpu.EndRun((uint)bytes);

            Advance(cpu, ref op, Rsi, step * count);
            Advance(cpu, ref op, Rdi, step * count);
            return count;
        }
    }

    private readonly partial struct Store
    {
        public static int Run<T>(Vcpu cpu, ref Op op, int most) where T : unmanaged
        {
            var count = most;
            if (!TryRun<T>(cpu, ref op, Rdi, 0, Access.Write, out var to, ref count)) return -1;
            if (count == 0) return 0;
            var step = Step<T>(cpu);
            Volatile.WriteBarrier();
            // SAFETY: TryRun gave host memory for count elements, upwards or downwards.
            Fill(step < 0 ? to - (count - 1) : to, count, cpu.Reg<T>(Rax));
            cpu.EndRun((uint)(count * sizeof(T)));
            Advance(cpu, ref op, Rdi, step * count);
            return count;
        }
    }

    private readonly partial struct Load
    {
        public static int Run<T>(Vcpu cpu, ref Op op, int most) where T : unmanaged
        {
            var count = most;
            if (!TryRun<T>(cpu, ref op, Rsi, op.Segment, Access.Read, out var from, ref count)) return -1;
            if (count == 0) return 0;
            var step = Step<T>(cpu);
            // SAFETY: TryRun gave host memory for count elements; only the last one stays.
            cpu.SetReg(Rax, Unsafe.ReadUnaligned<T>(step < 0 ? from - (count - 1) : from + (count - 1)));
            Volatile.ReadBarrier();
            Advance(cpu, ref op, Rsi, step * count);
            return count;
        }
    }

    private readonly partial struct Compare
    {
        public static int Run<T>(Vcpu cpu, ref Op op, int most) where T : unmanaged
        {
            var count = most;
            if (!TryRun<T>(cpu, ref op, Rdi, 0, Access.Read, out var right, ref count)) return -1;
            if (count == 0) return 0;
            if (!TryRun<T>(cpu, ref op, Rsi, op.Segment, Access.Read, out var left, ref count)) return -1;
            if (count == 0) return 0;
            var step = Step<T>(cpu);
            var direction = step < 0 ? -1 : 1;
            var whileEqual = (op.Flags & OpFlags.Repne) == 0;
            var index = 0;
            // SAFETY: TryRun gave host memory for count elements in the direction of the scan.
            if (whileEqual && direction > 0)
            {
                index = new ReadOnlySpan<byte>(left, count * sizeof(T)).CommonPrefixLength(new ReadOnlySpan<byte>(right, count * sizeof(T))) / sizeof(T);
            }
            else
            {
                while (index < count && Width.Same(Unsafe.ReadUnaligned<T>(left + index * direction), Unsafe.ReadUnaligned<T>(right + index * direction)) == whileEqual) index++;
            }

            // The flags are those of the element that ended it, or of the last one looked at.
            var last = Math.Min(index, count - 1) * direction;
            var (a, b) = (Unsafe.ReadUnaligned<T>(left + last), Unsafe.ReadUnaligned<T>(right + last));
            Volatile.ReadBarrier();
            cpu.S.SetSub(a, b, Width.Sub(a, b));
            count = Math.Min(index + 1, count);
            Advance(cpu, ref op, Rsi, step * count);
            Advance(cpu, ref op, Rdi, step * count);
            return count;
        }
    }

    private readonly partial struct Scan
    {
        public static int Run<T>(Vcpu cpu, ref Op op, int most) where T : unmanaged
        {
            var count = most;
            if (!TryRun<T>(cpu, ref op, Rdi, 0, Access.Read, out var at, ref count)) return -1;
            if (count == 0) return 0;
            var a = cpu.Reg<T>(Rax);
            var step = Step<T>(cpu);
            var direction = step < 0 ? -1 : 1;
            var whileEqual = (op.Flags & OpFlags.Repne) == 0;
            var index = 0;
            // SAFETY: TryRun gave host memory for count elements in the direction of the scan.
            if (direction > 0)
            {
                index = Find(at, count, Width.Zero(a), whileEqual);
                if (index < 0) index = count;
            }
            else
            {
                while (index < count && Width.Same(Unsafe.ReadUnaligned<T>(at - index), a) == whileEqual) index++;
            }

            var b = Unsafe.ReadUnaligned<T>(at + Math.Min(index, count - 1) * direction);
            Volatile.ReadBarrier();
            cpu.S.SetSub(a, b, Width.Sub(a, b));
            count = Math.Min(index + 1, count);
            Advance(cpu, ref op, Rdi, step * count);
            return count;
        }
    }
}
