using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// Cases 30 and 32 to 38 of the list of known attacks, by number, as far as the tests of each subject do not hold them already: in CodeWritingTests
/// (32), PagingTests (33), TripleFaultTests and TaskSwitchTests (34), ExceptionTests and LongModeTests (35), HostileCodeTests (random bytes, 37),
/// and the conformance tests of ports, devices, model-specific registers and kicks.
/// </summary>
public abstract class HostileProcessorTests<TEngine> where TEngine : IEngine
{
    private const ulong Page = 0x10000, Device = 0x500000, DevicePages = SystemGuest.Tables + 0x2010, Top = SystemGuest.Tables + 0x8000;
    private const int Enough = 10_000;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Case30_StringIo_OfFourBillionElementsOverRamsEnd_CanBeStopped(bool output)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            if (output) a.rep.outsb();
            else a.rep.insb();
        });
        var port = new Counter { Limit = Enough, Reached = guest.Cpu.Kick };
        guest.Bus.Ports.Map(0x20, 1, port);
        guest.Write(DevicePages, 0x400083UL);
        (guest[1], guest[2], guest[6], guest[7]) = (uint.MaxValue, 0x20, 0x400000 - 100, 0x400000 - 100);
        Assert.Equal(VcpuStopKind.Kicked, guest.Run().Kind);
        var done = uint.MaxValue - guest[1];
        Assert.InRange(done, (ulong)Enough, Enough + 4096UL);
        Assert.Equal((SystemGuest.Start, 0x400000 - 100 + done), (guest.State.Rip, guest[output ? 6 : 7]));
        guest[1] = 5;
        guest.RunToEnd();
        Assert.Equal(0UL, guest[1]);
    }

    [Fact]
    public void Case30_MoveFromDeviceToDevice_OfFourBillionElements_CanBeStopped()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.rep.movsd());
        guest.Bus.Mmio.Map(Device, 0x80000, new Counter { Limit = Enough, Reached = guest.Cpu.Kick });
        guest.Write(DevicePages, 0x400083UL);
        (guest[1], guest[6], guest[7]) = (uint.MaxValue, Device, Device + 8);
        Assert.Equal(VcpuStopKind.Kicked, guest.Run().Kind);
        Assert.InRange(uint.MaxValue - guest[1], 1000UL, Enough + 4096UL);
    }

    [Fact]
    public void Case30_StoreOverTwoDevicesOnTwoPages_ReachesBoth()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(__qword_ptr[rbx], rax));
        var (first, second) = (new Counter(), new Counter());
        guest.Bus.Mmio.Map(Device, 0x1000, first);
        guest.Bus.Mmio.Map(Device + 0x1000, 0x1000, second);
        guest.Write(DevicePages, 0x400083UL);
        (guest[0], guest[3]) = (0x8877665544332211, Device + 0xFFC);
        guest.RunToEnd();
        Assert.Equal((true, true), (first.Count > 0, second.Count > 0));
    }

    [Fact]
    public void Case32_AMillionBlocks_AreRunInBoundedMemory()
    {
        // Two bytes each: a jump to the next.
        const ulong From = 0x100000, Blocks = 1_000_000;
        using var guest = new SystemGuest<TEngine>(64, a => a.jmp(rbx));
        var code = new byte[2 * Blocks + 1];
        for (var i = 0; i < code.Length - 1; i += 2) code[i] = 0xEB;
        code[^1] = 0xF4;
        guest.Bytes(From, code);
        guest[3] = From;
        for (var round = 0; round < 3; round++)
        {
            guest.GoTo(SystemGuest.Start);
            guest.RunToEnd();
            Assert.Equal(From + (ulong)code.Length, guest.State.Rip);
        }

        using var self = System.Diagnostics.Process.GetCurrentProcess();
        Assert.True(self.PrivateMemorySize64 < 8L << 30, $"{self.PrivateMemorySize64 >> 20} MiB");
    }

    [Fact]
    public void Case32_CodeAtTheVeryTop_GoesOnAtZero()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.jmp(rbx));
        guest.Write(SystemGuest.Tables + 511 * 8, Top | 7);
        guest.Write(Top + 511 * 8, Top + 0x1000 | 7);
        guest.Write(Top + 0x1000 + 511 * 8, Top + 0x2000 | 7);
        guest.Write(Top + 0x2000 + 511 * 8, Page | 7);
        guest.Bytes(Page + 0xFFE, 0x90, 0x90);
        guest.Bytes(0, 0xF4);
        guest[3] = ulong.MaxValue - 1;
        guest.RunToEnd();
        Assert.Equal(1UL, guest.State.Rip);
    }

    [Fact]
    public void Case33_TablesThatMapThemselves_AreTablesAndData()
    {
        // By entry 510 the page-table entry of a page is at the page's number times 8.
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(al, __byte_ptr[rcx]);
            a.mov(__qword_ptr[rbx], rdx);
            a.invlpg(__[rcx]);
            a.mov(ah, __byte_ptr[rcx]);
            a.mov(__qword_ptr[rbx + 8], rbx);
            a.mov(rsi, __qword_ptr[rdi]);
        });
        guest.Write(SystemGuest.Tables + 510 * 8, SystemGuest.Tables | 7);
        guest.Bytes(Page, 1);
        guest.Bytes(Page + 0x1000, 2);
        (guest[1], guest[2], guest[3], guest[7]) = (Page, Page + 0x1000 | 7, 0xFFFF_FF00_0000_0000 + Page / 4096 * 8, 0xFFFF_FF7F_BFDF_E000 + 510 * 8);
        guest.RunToEnd();
        Assert.Equal((0x0201UL, SystemGuest.Tables), (guest[0] & 0xFFFF, guest[6] & ~0xFFFUL));
    }

    [Theory]
    [InlineData((SystemGuest.Tables + 0x1000) | 0x87, 9u)]
    [InlineData((1UL << 51) | 7, 9u)]
    [InlineData(0UL, 0u)]
    public void Case33_TopLevelEntry_ThatIsNone_IsAPageFault(ulong entry, uint error)
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(al, __byte_ptr[rbx]));
        guest.Write(SystemGuest.Tables + 8, entry);
        guest[3] = 1UL << 39;
        Assert.Equal(new Trap(14, error, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void Case33_TablesInADevice_AreNotItsRegisters()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(__byte_ptr[rbx], al));
        var device = new Counter();
        guest.Bus.Mmio.Map(Device, 0x1000, device);
        guest.Write(SystemGuest.Tables + 8, Device | 7);
        guest[3] = 1UL << 39;
        Assert.Equal(14, guest.RunToTrap().Vector);
        Assert.Equal(0, device.Count);
    }

    [Fact]
    public void Case33_TablesInRom_AreUsedAndStayAsTheyAre()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(al, __byte_ptr[rbx]));
        using var rom = MemoryRegion.Allocate("rom", 0x600000, 0x3000, MemoryRegionKind.Rom);
        for (ulong level = 0; level < 3; level++) rom.Write(level * 0x1000, BitConverter.GetBytes(level < 2 ? 0x601007UL + level * 0x1000 : Page | 7));
        guest.Bus.Memory.Add(rom);
        guest.Write(SystemGuest.Tables + 8, 0x600007UL);
        guest.Bytes(Page, 0x5A);
        guest[3] = 1UL << 39;
        guest.RunToEnd();
        Assert.Equal(0x5AUL, guest[0] & 0xFF);
        for (ulong level = 0; level < 3; level++) Assert.Equal(7UL, guest.Read<ulong>(0x600000 + level * 0x1000) & 0xFF);
    }

    [Fact]
    public void Case33_FiveLevels_ToggledInLongMode_IsAProtectionFault()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) =>
        {
            a.mov(rax, cr4);
            a.xor(eax, 1 << 12);
            mark("write");
            a.mov(cr4, rax);
        });
        Assert.Equal(new Trap(13, 0, guest["write"]), guest.RunToTrap());
    }

    [Fact]
    public void Case34_DebugExceptionsWithoutEnd_CanBeStopped()
    {
        // The handler's first instruction has a breakpoint of its own (CVE-2015-8104).
        using var guest = new SystemGuest<TEngine>(64, a => a.db(0xF1));
        guest.SetGate(1, SystemGuest.Handlers + 16, 0, ist: 1);
        (guest.State.Debug[0], guest.State.Debug[7]) = (SystemGuest.Handlers + 16, 0x401);
        Stops(guest);
    }

    [Fact]
    public void Case34_AlignmentChecksWithoutEnd_CanBeStopped()
    {
        // The handler is in ring 3 and does the same again (CVE-2015-5307).
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(eax, __dword_ptr[rbx]), user: true);
        guest.Handle(17, a => a.mov(eax, __dword_ptr[rbx]));
        guest.SetGate(17, SystemGuest.Routines + 17 * 0x100, 3, ist: 1, selector: SystemGuest.UserCode64);
        guest.State.Cr0 |= 1 << 18;
        guest.State.Rflags |= 1 << 18;
        guest[3] = Page + 1;
        Stops(guest);
    }

    [Fact]
    public void Case34_TablesOfRandomBytes_EndInAStop()
    {
        for (var seed = 0; seed < 300; seed++)
        {
            var random = new Random(seed);
            using var guest = new SystemGuest<TEngine>(seed % 2 == 0 ? 64 : 32, a =>
            {
                a.@int(3);
                a.@int(0x80);
                a.ud2();
            }, user: seed % 4 >= 2);
            var bytes = new byte[0x1000];
            foreach (var table in (ulong[])[SystemGuest.Idt, SystemGuest.Tss, SystemGuest.Gdt + 0x40])
            {
                if (random.Next(3) == 0) continue;
                random.NextBytes(bytes);
                guest.Bytes(table, bytes[..(table == SystemGuest.Gdt + 0x40 ? 0x200 : 0x1000)]);
            }

            // Gates that lead somewhere now and then.
            for (var i = 0; i < 64; i++) guest.SetGate(random.Next(256), (ulong)random.Next(0x400000), random.Next(4), random.Next(8), (ushort)random.Next(0x100), random.Next(0x80, 0x90));
            using var timer = new Timer(_ => guest.Cpu.Kick(), null, 20, 20);
            Assert.True(guest.Run().Kind is VcpuStopKind.Kicked or VcpuStopKind.Halted or VcpuStopKind.Shutdown, $"seed {seed}");
        }
    }

    [Fact]
    public void Case34_LoadOfABusyTask_IsAProtectionFault()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.ltr(ax));
        guest[0] = SystemGuest.TssSelector;
        Assert.Equal(new Trap(13, SystemGuest.TssSelector, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void Case35_StackSegmentLoadWithADataBreakpointBeforeAnInterrupt_EndsInAHandler()
    {
        // CVE-2018-8897: the debug exception is held back over the interrupt's first instruction.
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(ss, __word_ptr[rbx]);
            a.@int(0x80);
        }, user: true);
        guest.Write<ushort>(Page, SystemGuest.UserData);
        guest[3] = Page;
        (guest.State.Debug[0], guest.State.Debug[7]) = (Page, 0x401 | 0x7 << 16);
        Assert.Contains(guest.RunToTrap().Vector, (int[])[1, 0x80]);
        Assert.Equal(0, guest.State.Segments[1].Selector & 3);
    }

    [Theory]
    [InlineData(512, 1UL << 40)] // components that are not enabled
    [InlineData(520, 1UL)] // XCOMP_BV without its format bit
    [InlineData(520, 1UL << 63 | 1UL << 40)] // compact, of components that are not there
    [InlineData(528, 1UL)] // reserved bytes of the header
    [InlineData(24, 0x0001_0000UL)] // reserved bits of MXCSR
    public void Case36_RestoredArea_ThatIsMalformed_IsAProtectionFault(int offset, ulong value)
    {
        using var guest = WithExtendedState(a => a.xrstor(__[rbx]));
        guest.Write(Page + 512, 7UL);
        guest.Write(Page + (ulong)offset, value);
        (guest[0], guest[2], guest[3]) = (7, 0, Page);
        Assert.Equal(new Trap(13, 0, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void Case36_RestoredArea_NotAligned_IsAProtectionFault()
    {
        using var wide = WithExtendedState(a => a.xrstor(__[rbx]));
        (wide[0], wide[3]) = (7, Page + 32);
        Assert.Equal(new Trap(13, 0, SystemGuest.Start), wide.RunToTrap());
        using var narrow = new SystemGuest<TEngine>(64, a => a.fxrstor(__[rbx]));
        narrow[3] = Page + 8;
        Assert.Equal(new Trap(13, 0, SystemGuest.Start), narrow.RunToTrap());
    }

    [Theory]
    [InlineData(0u, 6UL)] // without x87
    [InlineData(0u, 5UL)] // AVX without SSE
    [InlineData(0u, 1UL << 62 | 7)]
    [InlineData(1u, 7UL)] // no such register
    [InlineData(uint.MaxValue, 7UL)]
    public void Case36_ExtendedControlRegister_IllegalValue_IsAProtectionFault(uint index, ulong value)
    {
        using var guest = WithExtendedState(a => a.xsetbv());
        (guest[0], guest[1], guest[2]) = ((uint)value, index, value >> 32);
        Assert.Equal(new Trap(13, 0, SystemGuest.Start), guest.RunToTrap());
    }

    [Theory]
    [InlineData("cpuid")]
    [InlineData("pause")]
    [InlineData("rdmsr")]
    [InlineData("hlt")]
    public void Case38_StormsInUserModeWithInterruptsOff_CanBeStopped(string instruction)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var again = a.CreateLabel();
            a.Label(ref again);
            if (instruction == "cpuid") a.cpuid();
            else if (instruction == "pause") a.pause();
            else if (instruction == "rdmsr") a.rdmsr();
            else a.hlt();
            a.jmp(again);
        }, user: true);

        // The last two are faults there, whose handler goes back to them.
        guest.Handle(13, a =>
        {
            a.add(rsp, 8);
            a.iretq();
        });
        guest.State.Rflags &= ~(1UL << 9);
        Stops(guest);
    }

    /// <summary>What would go on for ever ends by a kick, and again by another.</summary>
    private static void Stops(SystemGuest guest)
    {
        using var timer = new Timer(_ => guest.Cpu.Kick(), null, 50, 50);
        for (var i = 0; i < 2; i++) Assert.Equal(VcpuStopKind.Kicked, guest.Run().Kind);
    }

    private static SystemGuest WithExtendedState(Action<Assembler> body)
    {
        var guest = new SystemGuest<TEngine>(64, body);
        guest.State.Cr4 |= 1 << 18;
        guest.State.Xcr0 = 7;
        return guest;
    }

    private sealed class Counter : IIoHandler
    {
        public int Count { get; private set; }

        public int Limit { get; init; } = -1;

        public Action? Reached { get; init; }

        public ulong Read(uint offset, int size) => Tell(0x55);

        public void Write(uint offset, int size, ulong value) => Tell(0);

        private ulong Tell(ulong value)
        {
            if (++Count == Limit) Reached?.Invoke();
            return value;
        }
    }
}
