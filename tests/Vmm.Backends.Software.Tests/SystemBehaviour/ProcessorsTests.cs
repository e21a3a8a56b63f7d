using System.Runtime.CompilerServices;
using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Two processors: start-up, atomic operations, code that one writes and the other runs.</summary>
public abstract class ProcessorsTests<TEngine> where TEngine : IEngine
{
    private const ulong Apic = 0xFEE00000;

    [Fact]
    public void InitAndStartup_StartTheSecondProcessorInRealMode()
    {
        using var guest = new SystemGuest<TEngine>(32, a =>
        {
            a.mov(__dword_ptr[(uint)Apic + 0xF0], 0x1FF);
            a.mov(__dword_ptr[(uint)Apic + 0x310], 1 << 24);
            a.mov(__dword_ptr[(uint)Apic + 0x300], 0x4500);
            a.mov(__dword_ptr[(uint)Apic + 0x300], 0x4609);
        }, vcpus: 2);
        guest.Place(0x9000, 16, (a, _) => { a.mov(ax, cs); a.mov(__word_ptr[0x7F00], ax); });
        var second = guest.Partition.Vcpus[1];
        Assert.Equal(VcpuStopKind.Halted, second.Run().Kind);
        Assert.Equal(0, guest.Read<ushort>(0x7F00));
        guest.RunToEnd();
        Assert.Equal(VcpuStopKind.Halted, second.Run().Kind);
        Assert.Equal(0x900, guest.Read<ushort>(0x7F00));
    }

    [Fact]
    public void Startup_WithoutInit_IsIgnored()
    {
        using var guest = new SystemGuest<TEngine>(32, a =>
        {
            a.mov(__dword_ptr[(uint)Apic + 0x310], 1 << 24);
            a.mov(__dword_ptr[(uint)Apic + 0x300], 0x4609);
        }, vcpus: 2);
        guest.Place(0x9000, 16, (a, _) => a.mov(__byte_ptr[0x7F00], 1));
        guest.RunToEnd();
        Assert.Equal(VcpuStopKind.Halted, guest.Partition.Vcpus[1].Run().Kind);
        Assert.Equal(0, guest.Read<byte>(0x7F00));
    }

    [Theory]
    [InlineData(0x10000UL), InlineData(0x10FFEUL)]
    public void LockedExchangeAdd_TwoThreads_GiveTheExactSum(ulong address)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var loop = a.CreateLabel();
            a.Label(ref loop);
            a.mov(eax, 1);
            a.@lock.xadd(__dword_ptr[rbx], eax);
            a.dec(ecx);
            a.jne(loop);
        }, vcpus: 2);
        const ulong count = 50_000;
        (guest[1], guest[3]) = (count, address);
        guest.RunBoth(guest.State);
        Assert.Equal(2 * (uint)count, guest.Read<uint>(address));
    }

    [Fact]
    public void CrossModifyingCode_IsSeenByTheOtherProcessor()
    {
        // The second processor calls a routine until it returns 2; the first rewrites its immediate.
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(ecx, 20_000);
            var wait = a.CreateLabel();
            a.Label(ref wait);
            a.dec(ecx);
            a.jne(wait);
            a.mov(__byte_ptr[0x70001], 2);
        }, vcpus: 2);
        guest.Place(0x70000, 64, (a, _) => { a.mov(eax, 1); a.ret(); });
        guest.Place(0x71000, 64, (a, _) =>
        {
            var again = a.CreateLabel();
            a.Label(ref again);
            a.mov(rbx, 0x70000);
            a.call(rbx);
            a.cmp(eax, 2);
            a.jne(again);
        });
        var other = new VcpuState();
        guest.Cpu.SetState(guest.State);
        guest.Cpu.GetState(other);
        other.Rip = 0x71000;
        guest.RunBoth(other);
        guest.Partition.Vcpus[1].GetState(other);
        Assert.Equal(2UL, other.Gpr[0]);
    }

    [Fact]
    public void CodeWrittenOften_WhileTheOtherProcessorIsHalted_IsNewForItAndNotAskedForEachTime()
    {
        const int rounds = 6000;
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(ecx, rounds);
            var again = a.CreateLabel();
            a.Label(ref again);
            a.inc(__dword_ptr[0x70001]);
            a.mov(rbx, 0x70000);
            a.call(rbx);
            a.dec(ecx);
            a.jne(again);
        }, vcpus: 2);
        guest.Place(0x70000, 64, (a, _) => { a.mov(eax, 1); a.ret(); });
        guest.Place(0x71000, 64, (a, _) => { a.mov(rbx, 0x70000); a.call(rbx); });
        var other = (Vcpu)guest.Partition.Vcpus[1];
        ulong Answer()
        {
            var state = new VcpuState();
            guest.Cpu.SetState(guest.State);
            guest.Cpu.GetState(state);
            state.Rip = 0x71000;
            other.SetState(state);
            Assert.Equal(VcpuStopKind.Halted, other.Run().Kind);
            other.GetState(state);
            return state.Gpr[0];
        }

        Assert.Equal(1UL, Answer());
        guest.RunToEnd();
        Assert.InRange(DropCode(other).Count, 1, 5000);
        Assert.Equal(rounds + 1UL, Answer());
        Assert.Empty(DropCode(other));
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_dropCode")]
    private static extern ref List<(ulong Gpa, ulong Granules)> DropCode(Vcpu cpu);
}
