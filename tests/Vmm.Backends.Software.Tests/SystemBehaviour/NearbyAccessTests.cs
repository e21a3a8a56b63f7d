using Iced.Intel;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Accesses that lie near each other, which the translator checks together: they may be in two pages, of which one does not allow them.</summary>
public abstract class NearbyAccessTests<TEngine> where TEngine : IEngine
{
    private const ulong Page = 0x10000, Second = 0x11000;

    [Fact]
    public void Frame_MovesAcrossAPageEnd_HoldsItsValues()
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var loop = a.CreateLabel();
            a.mov(r8, rsp);
            a.mov(rsp, rbx);
            a.Label(ref loop);
            a.push(rcx);
            a.push(rdx);
            a.push(r14);
            a.mov(rbp, rsp);
            a.add(__qword_ptr[rbp + 8], 5);
            a.lea(rsi, __[rbp + 16]);
            a.add(rdi, __qword_ptr[rsi]);
            a.mov(r10, __qword_ptr[rbp]);
            a.pop(r14);
            a.pop(rdx);
            a.pop(rcx);
            a.sub(r14, 1);
            a.add(rsp, 8);
            a.add(rdi, rdx);
            a.sub(rdi, r10);
            a.dec(rcx);
            a.jne(loop);
            a.mov(rsp, r8);
        });
        (guest[1], guest[2], guest[3], guest[7], guest[14]) = (40, 1, Second - 160, 0, 1000);
        guest.RunToEnd();
        ulong sum = 0, second = 1, third = 1000;
        for (ulong left = 40; left != 0; left--) sum += left + (second += 5) - third--;
        Assert.Equal((sum, second, third), (guest[7], guest[2], guest[14]));
    }

    [Theory]
    [InlineData(Second - 8, 1)]
    [InlineData(Second - 16, 2)]
    [InlineData(Second - 20, 2)]
    [InlineData(Second - 24, 3)]
    public void SecondPage_NotPresent_FaultsAtTheAccessThatReachesIt(ulong address, int done)
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) =>
        {
            for (var i = 0; i < 4; i++)
            {
                mark($"{i}");
                a.add(rdx, __qword_ptr[rbx + 8 * i]);
                a.adc(rax, 1);
            }
        }).SetPage(Second, 0);
        for (var at = Second - 32; at < Second; at += 8) guest.Write(at, 0x8000_0000_0000_0001UL);
        (guest[0], guest[2], guest[3]) = (0, 0, address);
        Assert.Equal(new Trap(14, 0, guest[$"{done}"]), guest.RunToTrap());
        Assert.Equal(Second, guest.State.Cr2);
        ulong carries = 0, sum = 0;
        for (var i = 0; i < done; i++)
        {
            var value = guest.Read<ulong>(address + 8 * (ulong)i);
            carries += 1 + (sum + value < sum ? 1UL : 0);
            sum += value;
        }

        Assert.Equal((carries, sum), (guest[0], guest[2]));
    }

    [Fact]
    public void ReadOnlyPage_IsReadBeforeTheWriteFaults()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) =>
        {
            a.mov(rax, __qword_ptr[rbx]);
            a.mov(rdx, __qword_ptr[rbx + 8]);
            mark("write");
            a.mov(__qword_ptr[rbx + 16], rax);
        }, user: true).SetPage(Page, Page | 5);
        guest.Write(Page, 7UL);
        guest.Write(Page + 8, 9UL);
        guest[3] = Page;
        Assert.Equal(new Trap(14, 7, guest["write"]), guest.RunToTrap());
        Assert.Equal((7UL, 9UL, Page + 16), (guest[0], guest[2], guest.State.Cr2));
    }

    [Fact]
    public void Write_BehindAFault_LeavesTheDirtyBit()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) =>
        {
            a.mov(rax, __qword_ptr[rbx]);
            a.xor(ecx, ecx);
            mark("divide");
            a.div(rcx);
            a.mov(__qword_ptr[rbx + 8], rax);
        });
        guest[3] = Page;
        Assert.Equal(new Trap(0, 0, guest["divide"]), guest.RunToTrap());
        Assert.Equal(0x20UL, guest.Read<ulong>(SystemGuest.Entry(Page)) & 0x60);
    }

    [Fact]
    public void ConstantAddresses_AcrossAPageEnd_AreReadAndWritten()
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var loop = a.CreateLabel();
            a.Label(ref loop);
            a.inc(__dword_ptr[Second - 8]);
            a.inc(__dword_ptr[Second - 4]);
            a.inc(__dword_ptr[Second - 2]);
            a.inc(__dword_ptr[Second + 4]);
            a.dec(ecx);
            a.jne(loop);
        });
        guest[1] = 30;
        guest.RunToEnd();
        Assert.Equal((30u, 30u + (30u << 16), 0u, 30u), (guest.Read<uint>(Second - 8), guest.Read<uint>(Second - 4), guest.Read<uint>(Second), guest.Read<uint>(Second + 4)));
    }
}
