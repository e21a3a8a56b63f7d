using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Repeated string instructions on pages that were touched before.</summary>
public abstract class StringTests<TEngine> where TEngine : IEngine
{
    private const ulong Memory = 0x70000, Length = 0x4000;

    [Theory]
    [InlineData(true, 1), InlineData(true, 4), InlineData(true, 8), InlineData(false, 1), InlineData(false, 4), InlineData(false, 8)]
    public void Repeated_AnyPlacesAndCounts_IsAsOneByOne(bool moves, int size)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(r8, __qword_ptr[rsi]);
            a.mov(r8, __qword_ptr[rdi]);
            a.mov(__qword_ptr[rdi], r8);
            a.bt(rdx, 3);
            if (moves && size == 1) a.rep.movsb();
            else if (moves && size == 4) a.rep.movsd();
            else if (moves) a.rep.movsq();
            else if (size == 1) a.rep.stosb();
            else if (size == 4) a.rep.stosd();
            else a.rep.stosq();
            a.pushfq();
            a.pop(r9);
        });
        var random = new Random(size);
        var expected = new byte[Length];
        random.NextBytes(expected);
        guest.Bytes(Memory, expected);
        for (var i = 0; i < 300; i++)
        {
            // Near each other, so that they overlap, and page ends are met, as often as not.
            var down = random.Next(5) == 0;
            var count = random.Next(4) == 0 ? random.Next(8) : random.Next(0x1100 / size);
            var (from, to) = (random.Next(0x1200, 0x2800), random.Next(0x1200, 0x2800));
            (guest[0], guest[1], guest[2], guest[6], guest[7]) = ((ulong)random.NextInt64(), (ulong)count, (ulong)random.Next(16), Memory + (ulong)from, Memory + (ulong)to);
            var value = BitConverter.GetBytes(guest[0]);
            var carry = guest[2] >> 3 & 1;
            guest.State.Rflags = 2UL | (down ? 0x400UL : 0);
            guest.GoTo(SystemGuest.Start);
            guest.RunToEnd();
            var step = down ? -size : size;
            for (var k = 0; k < count; k++) (moves ? expected.AsSpan(from + k * step, size) : value.AsSpan(0, size)).ToArray().CopyTo(expected, to + k * step);
            Assert.Equal((0UL, Memory + (ulong)(moves ? from + count * step : from), Memory + (ulong)(to + count * step)), (guest[1], guest[6], guest[7]));
            Assert.Equal(carry, guest[9] & 1);
        }

        var actual = new byte[Length];
        Assert.True(guest.Bus.Memory.TryRead(Memory, actual));
        Assert.Equal(expected, actual);
    }
}
