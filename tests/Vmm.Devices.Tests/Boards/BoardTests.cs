using System.Buffers.Binary;
using FsCheck.Xunit;
using Vmm.Core;
using Vmm.Core.Boards;
using Vmm.Core.Boot;
using Vmm.Core.Buses;
using Vmm.Core.Errors;
using Vmm.Devices.Boards;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests.Boards;

public class BoardTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<string> Names => ["microvm", "pc"];

    [Property(MaxTest = 300)]
    public void Layout_OfAnySize_AddsUpAndLeavesTheHoles(uint pages, bool huge, bool pc)
    {
        var bytes = ((ulong)pages % (huge ? 1u << 24 : 1u << 12) + 16) * 4096;
        IBoard board = Make(pc ? "pc" : "microvm");
        var layout = board.LayOutMemory(bytes);
        Assert.Equal(bytes, layout.Aggregate(0UL, (sum, r) => sum + r.Length));
        var end = 0UL;
        foreach (var (start, length) in layout)
        {
            Assert.True(start >= end && length > 0);
            end = start + length;
            Assert.True(end <= 0xC000_0000 || start >= 1UL << 32);
            if (pc) Assert.True(end <= 0xA0000 || start >= 0xC0000);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void MemoryMap_OfAMachine_IsSortedDisjointAndReservesTheTables(string name)
    {
        using var machine = new BoardMachine(Make(name), memory: 64 << 20);
        var end = 0UL;
        foreach (var entry in machine.Boot.MemoryMap)
        {
            Assert.True(entry.Start >= end, $"{entry} overlaps what is before it.");
            end = entry.Start + entry.Length;
        }

        Assert.Equal(new MemoryMapEntry(0, 0x9FC00, MemoryMapType.Ram), machine.Boot.MemoryMap[0]);
        Assert.Contains(new MemoryMapEntry(0x9FC00, 0x400, MemoryMapType.Reserved), machine.Boot.MemoryMap);
        Assert.Contains(new MemoryMapEntry(0xE0000, 0x20000, MemoryMapType.Reserved), machine.Boot.MemoryMap);
        Assert.Contains(machine.Boot.MemoryMap, e => e.Type == MemoryMapType.Ram && e.Start == 0x100000);
    }

    [Fact]
    public void Machine_WithLittleMemory_HasNoTablesButAMap()
    {
        using var machine = new BoardMachine(new MicroVmBoard(), memory: 64 << 10);
        Assert.Equal(0ul, machine.Boot.RsdpAddress);
        Assert.Equal([new MemoryMapEntry(0, 64 << 10, MemoryMapType.Ram)], machine.Boot.MemoryMap);
    }

    [Theory]
    [InlineData("microvm", 1)]
    [InlineData("pc", 255)]
    public void MpTable_OfABoard_IsFoundAndWhole(string name, int vcpus)
    {
        using var machine = new BoardMachine(Make(name), vcpus: vcpus);
        var ebda = (ulong)BinaryPrimitives.ReadUInt16LittleEndian(machine.Memory(0x40E, 2)) << 4;
        var area = machine.Memory(ebda, 1024);
        var at = area.AsSpan().IndexOf("_MP_"u8);
        Assert.True(at >= 0 && at % 16 == 0);
        var pointer = area.AsSpan(at, 16);
        Assert.Equal(0, Sum(pointer));
        var address = BinaryPrimitives.ReadUInt32LittleEndian(pointer[4..]);
        var table = machine.Memory(address, BinaryPrimitives.ReadUInt16LittleEndian(machine.Memory(address + 4, 2)));
        Assert.True(table.AsSpan(0, 4).SequenceEqual("PCMP"u8));
        Assert.Equal(0, Sum(table));
        int[] counts = new int[5];
        var offset = 44;
        for (var i = 0; i < BinaryPrimitives.ReadUInt16LittleEndian(table.AsSpan(34)); i++)
        {
            counts[table[offset]]++;
            offset += table[offset] == 0 ? 20 : 8;
        }

        Assert.Equal(table.Length, offset);
        Assert.Equal([vcpus, 1, 1, 15, 2], counts);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Line_SharedByTwoDevices_IsTheirOr(string name)
    {
        using var machine = new BoardMachine(Make(name));
        Redirect(machine, 20, 0x8041);
        var (first, second) = (machine.Machine.Context.Board.Line(20), machine.Machine.Context.Board.Line(20));
        first.Level = true;
        second.Level = true;
        Assert.Equal([new MsiMessage(0xFEE0_0000, 0xC041)], machine.Partition.Messages);
        first.Level = false;
        machine.Machine.Bus.EndOfInterrupt(0x41);
        Assert.Equal(2, machine.Partition.Messages.Count);
        second.Level = false;
        machine.Machine.Bus.EndOfInterrupt(0x41);
        Assert.Equal(2, machine.Partition.Messages.Count);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(24)]
    public void Line_BeyondTheInputs_IsRefused(int gsi) => Assert.Throws<ArgumentOutOfRangeException>(() => new MicroVmBoard().Line(gsi));

    [Fact]
    public void Timer_Programmed_ReachesBothControllers()
    {
        using var machine = new BoardMachine(new MicroVmBoard());
        Redirect(machine, 2, 0x30);
        foreach (var (port, value) in ((ushort, byte)[])[(0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0xFE), (0x43, 0x30), (0x40, 1), (0x40, 0)]) machine.Out(port, value);
        machine.Machine.Clock.SetTo(10_000_000);
        machine.Out(0x43, 0x34); // the overdue edge is delivered before the new mode
        Assert.True(machine.Partition.Fakes[0].ExternalInterrupt);
        Assert.Equal(0x30, machine.Machine.Bus.AcknowledgeExternalInterrupt());
        Assert.Contains(new MsiMessage(0xFEE0_0000, 0x30), machine.Partition.Messages);
        Assert.False(machine.Partition.Fakes[0].ExternalInterrupt);
    }

    [Fact]
    public void Place_OfManyDevices_GivesDistinctWindowsUntilNoneIsLeft()
    {
        var slots = new List<BoardSlot>();
        using var machine = new BoardMachine(new MicroVmBoard(), b => b.AddPart(m =>
        {
            for (var i = 0; i < 256; i++) slots.Add(m.Board.Place($"d{i}", 0x200, null));
            Assert.Throws<InvalidOperationException>(() => m.Board.Place("one too many", 1, null));
        }));
        Assert.Equal(256, slots.Select(s => s.Address).Distinct().Count());
        Assert.All(slots, s => Assert.InRange(s.Address, 0xFEF0_0000ul, 0xFEFF_F000ul));
        Assert.All(slots, s => Assert.InRange(s.Gsi, 16, 23));
        Assert.Throws<InvalidOperationException>(() => new MicroVmBoard().Place("nothing", 0, null));
        Assert.Throws<InvalidOperationException>(() => new MicroVmBoard().Place("huge", uint.MaxValue, null));
    }

    [Theory]
    [InlineData((ushort)0x605, (byte)0x34, MachineExitKind.PoweredOff)]
    [InlineData((ushort)0xCF9, (byte)0x06, MachineExitKind.Reset)]
    [InlineData((ushort)0x64, (byte)0xFE, MachineExitKind.Reset)]
    [InlineData((ushort)0x92, (byte)0x01, MachineExitKind.Reset)]
    public async Task Port_ThatEndsAMachine_DoesSo(ushort port, byte value, MachineExitKind kind)
    {
        foreach (var name in Names)
        {
            using var machine = new BoardMachine(Make(name.Data));
            await machine.Machine.StartAsync(Cancel);
            machine.Out(port, value);
            Assert.Equal(kind, (await machine.Machine.Completion).Kind);
        }
    }

    [Fact]
    public async Task Stop_OfAMachine_PressesThePowerButton()
    {
        using var machine = new BoardMachine(new MicroVmBoard());
        machine.Out(0x603, 0x01); // power button event enabled
        Redirect(machine, 9, 0x8050);
        await machine.Machine.StartAsync(Cancel);
        var stopping = machine.Machine.StopAsync(TimeSpan.FromSeconds(30), Cancel);
        while (!machine.Partition.Messages.Contains(new MsiMessage(0xFEE0_0000, 0xC050))) await Task.Yield();
        machine.Out(0x605, 0x34);
        await stopping;
        Assert.Equal(MachineExitKind.PoweredOff, (await machine.Machine.Completion).Kind);
    }

    [Fact]
    public void Board_InASecondMachine_IsRefused()
    {
        var board = new MicroVmBoard();
        using var machine = new BoardMachine(board);
        Assert.Throws<VmmConfigurationException>(() => new BoardMachine(board));
    }

    [Fact]
    public void EveryPort_InEverySize_IsSafe()
    {
        using var machine = new BoardMachine(new PcBoard());
        var random = new Random(1);
        for (var port = 0; port < 0x10000; port++)
        {
            foreach (var size in (int[])[1, 2, 4])
            {
                machine.Machine.Bus.Ports.Read((ulong)port, size);
                machine.Machine.Bus.Ports.Write((ulong)port, size, (ulong)random.NextInt64());
            }
        }
    }

    [Fact]
    public void KernelArguments_OfBoardAndDevices_AreJoined()
    {
        using var machine = new BoardMachine(new MicroVmBoard(), b => b.AddPart(m => m.KernelArguments.Add("root=/dev/vda")));
        Assert.Equal("pci=off root=/dev/vda", machine.Boot.ExtraCommandLine);
    }

    private static IBoard Make(string name) => name == "pc" ? new PcBoard() : new MicroVmBoard();

    private static void Redirect(BoardMachine machine, int input, ulong entry)
    {
        var mmio = machine.Machine.Bus.Mmio;
        mmio.Write(0xFEC0_0000, 4, (ulong)(0x11 + input * 2));
        mmio.Write(0xFEC0_0010, 4, entry >> 32);
        mmio.Write(0xFEC0_0000, 4, (ulong)(0x10 + input * 2));
        mmio.Write(0xFEC0_0010, 4, (uint)entry);
    }

    private static byte Sum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (var value in bytes) sum += value;
        return sum;
    }
}
