using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Code that is written while it is in use, and I/O that instructions make.</summary>
public abstract class CodeWritingTests<TEngine> where TEngine : IEngine
{
    [Fact]
    public void Store_AheadInTheSameBlock_IsExecuted()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) => { a.mov(__byte_ptr[rbx], 7); mark("next"); a.mov(cl, 1); });
        guest[3] = guest["next"] + 1;
        guest.RunToEnd();
        Assert.Equal(7UL, guest[1]);
    }

    [Fact]
    public void Store_AcrossAPageEndIntoCode_IsExecuted()
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(rsi, 0x71000);
            a.call(rsi);
            a.mov(__dword_ptr[rbx], edx);
            a.call(rsi);
        });
        guest.Place(0x71000, 64, (a, _) => { a.add(ecx, 1); a.ret(); });
        // ADD ECX, 1 is 83 C1 01: the store's last two bytes make it ADD EDX, 1.
        (guest[3], guest[2]) = (0x70FFE, 0xC283_0000);
        guest.RunToEnd();
        Assert.Equal((1UL, 0xC283_0001UL), (guest[1], guest[2]));
    }

    [Fact]
    public void Loop_ThatRewritesItself_RunsEachVersion()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) =>
        {
            var loop = a.CreateLabel();
            a.Label(ref loop);
            a.nop();
            mark("add");
            a.add(edx, 1);
            a.inc(__byte_ptr[rbx]);
            a.dec(ecx);
            a.jne(loop);
        });
        (guest[1], guest[2], guest[3]) = (20, 0, guest["add"] + 2);
        guest.RunToEnd();
        Assert.Equal(210UL, guest[2]);
    }

    [Fact]
    public void HostWrite_ByDma_IsExecuted()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) =>
        {
            var loop = a.CreateLabel();
            a.mov(ecx, 2);
            a.Label(ref loop);
            a.nop();
            mark("load");
            a.mov(eax, 1);
            a.@out(0x10, al);
            a.dec(ecx);
            a.jne(loop);
        });
        guest.Bus.Ports.Map(0x10, 1, new Device { Written = _ => guest.Write<byte>(guest["load"] + 1, 2) });
        guest.RunToEnd();
        Assert.Equal(2UL, guest[0]);
    }

    [Theory]
    [InlineData(1), InlineData(2), InlineData(4), InlineData(8)]
    public void Mmio_OfAnyGeneralSize_ReachesTheDeviceWhole(int size)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            switch (size)
            {
                case 1: a.mov(__byte_ptr[rbx], al); a.mov(cl, __byte_ptr[rbx]); break;
                case 2: a.mov(__word_ptr[rbx], ax); a.mov(cx, __word_ptr[rbx]); break;
                case 4: a.mov(__dword_ptr[rbx], eax); a.mov(ecx, __dword_ptr[rbx]); break;
                default: a.mov(__qword_ptr[rbx], rax); a.mov(rcx, __qword_ptr[rbx]); break;
            }
        });
        var device = new Device();
        guest.Bus.Mmio.Map(0x500000, 0x100, device);
        guest.Write(SystemGuest.Tables + 0x2010, 0x400083UL);
        (guest[0], guest[1], guest[3]) = (0x1122334455667788, 0, 0x500010);
        guest.RunToEnd();
        var mask = size == 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1;
        Assert.Equal((size, 0x1122334455667788 & mask), (device.Size, device.Last));
        Assert.Equal(0x1122334455667788 & mask, guest[1]);
    }

    [Fact]
    public void Mmio_SixteenBytes_ReachTheDeviceInParts()
    {
        using var guest = new SystemGuest<TEngine>(64, a => { a.movups(__xmmword_ptr[rbx], xmm0); a.movups(xmm1, __xmmword_ptr[rbx]); a.movq(rax, xmm1); a.pextrq(rcx, xmm1, 1); });
        guest.Bus.Mmio.Map(0x500000, 0x100, new Store());
        guest.Write(SystemGuest.Tables + 0x2010, 0x400083UL);
        guest[3] = 0x500010;
        (guest.State.Xsave[160], guest.State.Xsave[175]) = (0x12, 0x34);
        guest.RunToEnd();
        Assert.Equal((0x12UL, 0x34UL << 56), (guest[0], guest[1]));
    }

    [Fact]
    public void RepeatedOuts_GivesEveryByteInOrder()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.rep.outsb());
        var bytes = new List<byte>();
        guest.Bus.Ports.Map(0x20, 1, new Device { Written = v => bytes.Add((byte)v) });
        guest.Bytes(0x10000, [.. Enumerable.Range(0, 1000).Select(i => (byte)(i * 7))]);
        (guest[1], guest[2], guest[6]) = (1000, 0x20, 0x10000);
        guest.RunToEnd();
        Assert.Equal(Enumerable.Range(0, 1000).Select(i => (byte)(i * 7)), bytes);
        Assert.Equal((0UL, 0x10000UL + 1000), (guest[1], guest[6]));
    }

    [Fact]
    public void RepeatedIns_PageFaultInTheMiddle_LosesNothing()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.rep.insw()).SetPage(0x11000, 0);
        ushort next = 0;
        guest.Bus.Ports.Map(0x20, 2, new Device { Supplied = () => next++ });
        (guest[1], guest[2], guest[7]) = (20, 0x20, 0x11000 - 10);
        Assert.Equal(new Trap(14, 2, SystemGuest.Start), guest.RunToTrap());
        Assert.Equal((5, 15UL, 0x11000UL, (ushort)4), ((int)next, guest[1], guest[7], guest.Read<ushort>(0x10FFE)));
    }

    [Fact]
    public void PortBitmap_AllowsWhatItSays()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) => { a.@in(al, 0x21); mark("next"); a.@in(ax, 0x21); }, user: true);
        guest.Write<ushort>(SystemGuest.Tss + 102, 104);
        guest.Write<ulong>(SystemGuest.Tss + 104, ~(1UL << 0x21));
        Assert.Equal(new Trap(13, 0, guest["next"]), guest.RunToTrap());
    }

    [Fact]
    public void CountedTime_TwoRuns_AreTheSame()
    {
        static (ulong[], ulong, byte[]) Trace()
        {
            using var guest = new SystemGuest<TEngine>(64, a =>
            {
                // The timer interrupts a loop that stores what the counter says.
                var loop = a.CreateLabel();
                a.sti();
                a.Label(ref loop);
                a.rdtsc();
                a.stosd();
                a.dec(ecx);
                a.jne(loop);
            }, nanosecondsPerInstruction: 3);
            guest.Handle(0x50, a =>
            {
                a.inc(rbx);
                a.mov(r9, rcx);
                a.imul(r8, r8, 31);
                a.add(r8, r9);
                a.mov(__dword_ptr[rbp + 0xB0], 0);
                a.iretq();
            });
            guest.Write(SystemGuest.Tables + 0x1018, 0xC0000083UL);
            guest.Place(SystemGuest.Start - 0x100, 64, (a, _) =>
            {
                a.mov(__dword_ptr[rbp + 0xF0], 0x1FF);
                a.mov(__dword_ptr[rbp + 0x320], 0x20050);
                a.mov(__dword_ptr[rbp + 0x3E0], 0xB);
                a.mov(__dword_ptr[rbp + 0x380], 50_000);
                a.mov(rax, SystemGuest.Start);
                a.jmp(rax);
            });
            (guest.State.Rip, guest[1], guest[5], guest[7]) = (SystemGuest.Start - 0x100, 60_000, 0xFEE00000, 0x100000);
            guest.RunToEnd();
            Assert.True(guest[3] >= 5, $"{guest[3]} timer interrupts");
            var stored = new byte[240_000];
            Assert.True(guest.Bus.Memory.TryRead(0x100000, stored));
            return ([.. guest.State.Gpr], guest.State.Rflags, stored);
        }

        var (first, second) = (Trace(), Trace());
        Assert.Equal(first.Item1, second.Item1);
        Assert.Equal(first.Item2, second.Item2);
        Assert.Equal(first.Item3, second.Item3);
    }

    private sealed class Device : IIoHandler
    {
        public int Size { get; private set; }

        public ulong Last { get; private set; }

        public Action<ulong>? Written { get; init; }

        public Func<ulong>? Supplied { get; init; }

        public ulong Read(uint offset, int size) => Supplied?.Invoke() ?? Last;

        public void Write(uint offset, int size, ulong value)
        {
            (Size, Last) = (size, value);
            Written?.Invoke(value);
        }
    }

    private sealed class Store : IIoHandler
    {
        private readonly byte[] _bytes = new byte[0x100];

        public ulong Read(uint offset, int size)
        {
            ulong value = 0;
            for (var i = 0; i < size; i++) value |= (ulong)_bytes[offset + i] << (8 * i);
            return value;
        }

        public void Write(uint offset, int size, ulong value)
        {
            for (var i = 0; i < size; i++) _bytes[offset + i] = (byte)(value >> (8 * i));
        }
    }
}
