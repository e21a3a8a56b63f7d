using System.Globalization;
using FsCheck;
using FsCheck.Fluent;
using Vmm.Core;
using Vmm.Core.Buses;
using Vmm.Core.State;
using Vmm.Devices.Boards;
using Vmm.Devices.Chipset;
using Vmm.Devices.Tests.Support;
using Vmm.TestSupport.Pci;

namespace Vmm.Devices.Tests.Pci;

/// <summary>What a hostile guest does with PCI, hot plug and the reset ports: cases 19 to 22, 29 and 31 of the project's list, and random sequences.</summary>
public class PciHostileTests
{
    private const uint Registers = 0xD000_0000, Table = 0xD010_0000, Pending = Table + 0x2000;
    private const int TableBar = 4;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    // 19: CVE-2020-13754, CVE-2015-7549.
    [Fact]
    public void MsiXTable_AccessedInEverySizeAndPlace_StaysATable()
    {
        using var machine = WithTable();
        for (ulong offset = 0; offset < 0x4000; offset += 0x3D)
        {
            foreach (var size in (int[])[1, 2, 4, 8])
            {
                machine.Mmio.Write(Table + offset, size, ulong.MaxValue);
                machine.Mmio.Read(Table + offset, size);
            }
        }

        // Reserved bits stay zero, past the last vector there is nothing, pending bits are not written.
        Assert.Equal(0xFFFF_FFFFu & ~3u, machine.Mmio.Read(Table, 4) | 0xFFFF_FF00 & ~3u);
        Assert.InRange(machine.Mmio.Read(Table + 12, 4), 0u, 1u);
        Assert.Equal(0u, machine.Mmio.Read(Table + ScratchFunction.Vectors * 16, 8));
        Assert.Equal(0u, machine.Mmio.Read(Pending, 8));
        Assert.Empty(machine.Messages);
    }

    [Fact]
    public void MsiXVector_ThatDoesNotExist_IsNoInterrupt()
    {
        using var machine = WithTable();
        foreach (var vector in (int[])[ScratchFunction.Vectors, 0xFFFF, int.MaxValue, -1, int.MinValue]) machine.Functions[0].Interrupt(vector);
        Assert.Empty(machine.Messages);
        Assert.Equal(0u, machine.Mmio.Read(Pending, 8) | machine.Mmio.Read(Pending + 8, 8));
    }

    // 20: a message to memory, to its own table, or with reserved modes.
    [Theory]
    [InlineData(0x1000ul)]
    [InlineData((ulong)Table)]
    [InlineData((ulong)Registers + 8)]
    [InlineData(0xFEC0_0000ul)]
    [InlineData(0xFEF0_0000ul)]
    [InlineData(0x1_FEE0_0000ul)]
    [InlineData(0xFFFF_FFFF_FFFF_FFFCul)]
    public void Message_ToAnythingButTheLocalApics_IsDropped(ulong address)
    {
        using var machine = WithTable();
        machine.Mmio.Write(Table, 8, address);
        machine.Mmio.Write(Table + 8, 8, 0x41);
        machine.Mmio.Write(Registers + 8, 4, 0);
        Assert.Empty(machine.Messages);
        Assert.Equal(new byte[8], machine.Board.Memory(0x1000, 8));
    }

    [Fact]
    public void Message_WithReservedModes_IsPassedOnAndHarmless()
    {
        using var machine = WithTable();
        for (uint data = 0; data < 0x1_0000; data += 0x0137)
        {
            machine.Mmio.Write(Table, 8, 0xFEE0_0000 | (data << 4 & 0xF_FFFC));
            machine.Mmio.Write(Table + 8, 8, data | 0xABCD_0000);
            machine.Mmio.Write(Registers + 8, 4, 0);
        }

        Assert.NotEmpty(machine.Messages);
    }

    // 21: BARs where they must not be.
    [Theory]
    [InlineData(0ul)]
    [InlineData(0x1000ul)]
    [InlineData(0x3F_0000ul)]
    [InlineData(0xA_0000ul)]
    [InlineData(0xBFFF_F000ul)]
    [InlineData(0xC000_0000ul)]
    [InlineData(0xC00F_F000ul)]
    [InlineData(0xFEC0_0000ul)]
    [InlineData(0xFEE0_0000ul)]
    [InlineData(0xFEF0_0000ul)]
    [InlineData(0xFFFF_F000ul)]
    public void MemoryBar_OverRamConfigurationSpaceOrApics_ClaimsNothing(ulong address)
    {
        using var machine = new PciMachine(functions: 2);
        var windows = machine.Mmio.Windows;
        machine.Place(1, 0, (uint)address);
        Assert.Null(machine.Functions[0].Bars[0]!.Address);
        Assert.Equal(windows, machine.Mmio.Windows);
        Assert.Equal(0x0008_1B36u, machine.Config(0, 0, 4));
        machine.Mmio.Write(0xFEC0_0000, 4, 1);
        Assert.Equal(0x0017_0020u, machine.Mmio.Read(0xFEC0_0010, 4));
        machine.Place(1, 0, Registers);
        Assert.Equal(ScratchFunction.Id, machine.Mmio.Read(Registers, 4));
    }

    [Theory]
    [InlineData(0xFFFF_FFFF_FFFF_0000ul)]
    [InlineData(0x000F_FFFF_FFFF_0000ul)]
    [InlineData(0x8000_0000_0000_0000ul)]
    [InlineData(0x0000_0001_0000_0000ul)]
    [InlineData(0x0000_0000_FEBF_8000ul)]
    public void WideBar_PastTheEndOfEverything_ClaimsNothing(ulong address)
    {
        using var machine = new PciMachine();
        machine.SetConfig(1, 0x18, 8, address);
        machine.SetConfig(1, 4, 2, 7);
        var inside = (address & ~0xFFFFul) == 0xFEBF_0000;
        Assert.Equal(inside ? 0xFEBF_0000ul : null, machine.Functions[0].Bars[2]!.Address);
    }

    [Theory]
    [InlineData(0x20u)]
    [InlineData(0x3E0u)]
    [InlineData(0x600u)]
    [InlineData(0xCE0u)]
    [InlineData(0x1_0000u)]
    [InlineData(0xFFFF_FFE0u)]
    public void IoBar_OverTheBoardsOwnChips_ClaimsNothing(uint port)
    {
        using var machine = new PciMachine();
        machine.Place(1, 1, port);
        Assert.Null(machine.Functions[0].Bars[1]!.Address);
        Assert.Equal(0x5C4A1234u, machine.PortConfig(0x8000_0800, 4));
    }

    [Fact]
    public void Bar_SizedWhileItIsDecoded_IsServedAgainWhereItWas()
    {
        using var machine = new PciMachine();
        machine.Place(1, 0, Registers);
        for (var i = 0; i < 1000; i++)
        {
            machine.SetConfig(1, 0x10, 4, 0xFFFF_FFFF);
            Assert.Equal(0xFFFF_F000u, machine.Config(1, 0x10, 4));
            machine.SetConfig(1, 0x10, 4, Registers);
            machine.SetConfig(1, 4, 1, (ulong)(i & 1) << 1 | 5);
        }

        machine.SetConfig(1, 4, 2, 7);
        Assert.Equal(ScratchFunction.Id, machine.Mmio.Read(Registers, 4));
    }

    [Fact]
    public async Task Command_ToggledWhileOthersUseTheDevice_IsHarmless()
    {
        using var machine = new PciMachine(functions: 2);
        machine.SetConfig(1, 0x20, 4, Table);
        machine.Place(1, 0, Registers);
        var toggling = Task.Run(
            () =>
            {
                for (var i = 0; i < 3000; i++)
                {
                    machine.SetConfig(1, 4, 2, (ulong)i & 7);
                    machine.SetConfig(2, 0x10, 4, Registers + (uint)(i % 3) * 0x1000);
                    machine.SetConfig(2, 4, 2, 7);
                }
            },
            Cancel);
        for (var i = 0; i < 5000; i++)
        {
            machine.Mmio.Write(Registers + 8, 4, (ulong)i);
            machine.Mmio.Write(Table + (uint)i % 0x4000, 4, (ulong)i);
            machine.Mmio.Read(Registers, 4);
        }

        await toggling;
        machine.SetConfig(2, 4, 2, 0);
        machine.SetConfig(1, 4, 2, 7);
        Assert.Equal(ScratchFunction.Id, machine.Mmio.Read(Registers, 4));
    }

    [Fact]
    public void ConfigurationSpace_AtItsEdges_IsSafeInEverySize()
    {
        using var machine = new PciMachine(functions: 31);
        foreach (var size in (int[])[1, 2, 4, 8])
        {
            foreach (var register in (int[])[0xFD, 0xFF, 0x100, 0x3FF, 0xFFD, 0xFFF])
            {
                machine.Config(1, register, size);
                machine.SetConfig(1, register, size, ulong.MaxValue);
            }

            machine.Mmio.Read(PciMachine.Ecam + (1 << 20) - 1, size);
            machine.Mmio.Write(PciMachine.Ecam + (1 << 20) - 1, size, ulong.MaxValue);
        }

        Assert.Equal(0x5C4A1234u, machine.Config(1, 0, 4));
    }

    [Fact]
    public void AddressPort_WithReservedBitsAndNarrowAccesses_KeepsToItsRules()
    {
        using var machine = new PciMachine();
        machine.Ports.Write(0xCF8, 4, 0xFFFF_FFFF);
        Assert.Equal(0x80FF_FFFCu, machine.Ports.Read(0xCF8, 4));
        foreach (var (port, size) in ((ulong, int)[])[(0xCF8, 1), (0xCF8, 2), (0xCFA, 2), (0xCFB, 1), (0xCFA, 1)]) machine.Ports.Write(port, size, 0);
        Assert.Equal(0x80FF_FFFCu, machine.Ports.Read(0xCF8, 4));
        Assert.Equal(0xFFFF_FFFFu, machine.Ports.Read(0xCFC, 4));
        machine.Ports.Write(0xCF8, 4, 0x8000_0800);
        Assert.Equal(0x5C4Au, machine.Ports.Read(0xCFE, 2));
        Assert.Equal(0x5C4Au, machine.Ports.Read(0xCFE, 4) & 0xFFFF); // over the edge
        machine.Ports.Write(0xCFF, 8, ulong.MaxValue);
    }

    // 22: a window into BARs is served by PciBar itself.
    [Fact]
    public void Bar_ReadAndWrittenPastItsEnd_IsNothing()
    {
        using var machine = new PciMachine();
        var function = machine.Functions[0];
        lock (function)
        {
            foreach (var bar in function.Bars)
            {
                foreach (var offset in (uint[])[0, 0xC, 0xF, 0xFFC, 0xFFFF, 0x1_0000, uint.MaxValue - 3, uint.MaxValue])
                {
                    foreach (var size in (int[])[1, 2, 4, 8])
                    {
                        bar?.Write(offset, size, 0);
                        bar?.Read(offset, size);
                    }
                }
            }
        }
    }

    // 29: the general-purpose events and the hot-plug registers.
    [Fact]
    public async Task HotPlugRegisters_FloodedInEverySize_EjectNothingThatIsNotThere()
    {
        using var machine = new PciMachine(functions: 3);
        await machine.Machine.StartAsync(Cancel);
        for (uint i = 0; i < 2000; i++)
        {
            var offset = i % 16;
            foreach (var size in (int[])[1, 2, 4, 8])
            {
                machine.Ports.Read(0x620 + offset, size);
                if (offset is < 1 or > 11) machine.Ports.Write(0x620 + offset, size, 0);
                machine.Ports.Write(0x60C + (i & 3), size, ulong.MaxValue);
            }
        }

        machine.Ports.Write(0x628, 4, 0xFFFF_FF01);
        Assert.All(Enumerable.Range(1, 3), d => Assert.Equal(0x5C4A1234u, machine.Config(d, 0, 4)));
        machine.Ports.Write(0x628, 8, ulong.MaxValue);
        foreach (var function in machine.Functions)
        {
            while (!function.IsDisposed) await Task.Yield();
        }
    }

    // 31: holes, debug exits of odd sizes, reset loops.
    [Fact]
    public void Hole_ReadAllOver_IsOnes()
    {
        using var machine = new PciMachine();
        for (var address = 0xC010_0000ul; address < 0xFEC0_0000; address += 0x12_3457) Assert.Equal(0xFFFF_FFFFu, machine.Mmio.Read(address, 4));
        for (var address = PciMachine.High; address < PciMachine.High << 1; address += PciMachine.High / 64 + 3) Assert.Equal(ulong.MaxValue, machine.Mmio.Read(address, 8));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ResetPorts_InALoop_EndTheMachineOnce(bool pc)
    {
        using var machine = new PciMachine(pc: pc);
        await machine.Machine.StartAsync(Cancel);
        for (var i = 0; i < 1000; i++)
        {
            machine.Ports.Write(0x92, 1, (ulong)i);
            machine.Ports.Write(0xCF9, 1, (ulong)i);
            machine.Ports.Write(0xCF8, 2, (ulong)i);
            machine.Ports.Read(0xCF9, 1);
        }

        Assert.Equal(MachineExitKind.Reset, (await machine.Machine.Completion).Kind);
    }

    [Fact]
    public void ResetPort_InsideTheAddressPort_IsReachedByBytesOnly()
    {
        using var machine = new PciMachine();
        machine.Ports.Write(0xCF9, 1, 0x02);
        Assert.Equal(0x02u, machine.Ports.Read(0xCF9, 1));
        machine.Ports.Write(0xCF8, 4, 0x8000_0600);
        Assert.Equal(0x02u, machine.Ports.Read(0xCF9, 1));
        Assert.Equal(MachineState.Created, machine.Machine.State);
    }

    [Fact]
    public void DebugExit_WrittenInEverySize_EndsWithWhatFits()
    {
        foreach (var size in (int[])[1, 2, 4, 8])
        {
            List<uint> codes = [];
            IIoHandler exit = new DebugExit(code => codes.Add((uint)code));
            exit.Write(0, size, ulong.MaxValue);
            exit.Read(0, size);
            Assert.Single(codes);
        }
    }

    // VMM_PCI_SEQUENCES=100000 for the long run; a failure is shrunk to the fewest accesses.
    [Fact]
    public void AnySequence_OfAccesses_IsHarmless()
    {
        var count = int.Parse(Environment.GetEnvironmentVariable("VMM_PCI_SEQUENCES") ?? "300", CultureInfo.InvariantCulture);
        Prop.ForAll(ArbMap.Default.ArbFor<Access[]>(), Harmless).Check(Config.QuickThrowOnFailure.WithMaxTest(count).WithEndSize(120));
    }

    [Fact]
    public void SavedState_OfAnyBytes_IsRefusedOrHarmless()
    {
        using var machine = new PciMachine(functions: 2);
        var saved = StateWriter.Save(machine.Functions[0]);
        var random = new Random(4);
        for (var i = 0; i < 400; i++)
        {
            var bytes = (byte[])saved.Clone();
            for (var j = random.Next(1, 60); j > 0; j--) bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            try
            {
                lock (machine.Functions[0])
                {
                    machine.Functions[0].Reset();
                    StateReader.Load("scratch0", bytes, machine.Functions[0]);
                }
            }
            catch (Vmm.Core.Errors.SnapshotException)
            {
                continue;
            }

            Check(machine);
            Assert.Equal(0x5C4A1234u, machine.Config(1, 0, 4));
        }
    }

    /// <summary>One access of a guest; the numbers are steered to where something is.</summary>
    public sealed record Access(byte Kind, byte Device, ushort Where, byte Size, ulong Value, bool Biased);

    private static void Harmless(Access[] accesses)
    {
        using var machine = new PciMachine(functions: 3, memory: 1 << 20);
        foreach (var access in accesses) Do(machine, access);
        Check(machine);
    }

    private static void Do(PciMachine machine, Access a)
    {
        var size = 1 << a.Size % 4;
        var device = a.Device % 5;
        var value = a.Biased ? Interesting[(int)(a.Value % (ulong)Interesting.Length)] : a.Value;
        var target = Interesting[a.Where % Interesting.Length] + (uint)(a.Device & 0xF);
        switch (a.Kind % 10)
        {
            case 0: machine.Config(device, a.Where % 4096, size); break;
            case 1: machine.SetConfig(device, a.Where % 4096, size, value); break;
            case 2: machine.SetConfig(device, 0x10 + a.Where % 6 * 4, size, value); break;
            case 3: machine.SetConfig(device, 4, 2, a.Value); break;
            case 4: machine.SetConfig(device, 0x40 + a.Where % 64, size, value); break;
            case 5: machine.Ports.Write(0xCF8 + (ulong)(a.Where & 7), size, a.Biased ? 0x8000_0000 | a.Value : a.Value); break;
            case 6: machine.Ports.Read(0xCF8 + (ulong)(a.Where & 7), size); break;
            case 7: machine.Mmio.Write(target, size, value); break;
            case 8: machine.Mmio.Read(target, size); break;
            default:
                foreach (var bar in machine.Functions[device % 3].Bars)
                {
                    if (bar?.Address is { } address && bar.Kind != Vmm.Devices.Pci.PciBarKind.Io) machine.Mmio.Write(address + a.Where % bar.Size, size, value);
                }

                break;
        }
    }

    private static readonly ulong[] Interesting =
    [
        0, 0x1000, 0xF_F000, 0xA_0000, 0xC000_0000, 0xC010_0000, Registers, Registers + 0x1000, Table, Pending, 0xFEBF_F000, 0xFEC0_0000, 0xFEE0_0000, 0xFEF0_0000, 0xFFFF_F000, 0xFFFF_FFFF,
        1UL << 32, PciMachine.High, PciMachine.High + 0x1_0000, 0xFFFF_FFFF_FFFF_F000, ulong.MaxValue, 0xC000, 0x620, 0xFFFF, 7,
    ];

    // What must hold whatever the guest has done: ranges only where they may be, memory untouched, the board's own chips in their places.
    private static void Check(PciMachine machine)
    {
        foreach (var function in machine.Functions)
        {
            foreach (var bar in function.Bars)
            {
                if (bar?.Address is not { } start) continue;
                var end = start + bar.Size;
                if (bar.Kind == Vmm.Devices.Pci.PciBarKind.Io) Assert.True(start >= 0x1000 && end <= 0x1_0000);
                else Assert.True((start >= PciMachine.Low && end <= PciMachine.LowEnd) || (start >= PciMachine.High && end <= PciMachine.High << 1), $"BAR at 0x{start:x}");
            }
        }

        Assert.Equal(0x0008_1B36u, machine.Config(0, 0, 4));
        Assert.All(machine.Messages, m => Assert.Equal(0xFEEul, m.Address >> 20));
        Assert.All(machine.Board.Memory(0x1000, 0x1000), b => Assert.Equal(0, b));
    }

    private static PciMachine WithTable()
    {
        var machine = new PciMachine();
        machine.SetConfig(1, 0x10 + 4 * TableBar, 4, Table);
        machine.Place(1, 0, Registers);
        machine.SetConfig(1, machine.Functions[0].MsiXControl(), 2, 0x8000);
        return machine;
    }
}
