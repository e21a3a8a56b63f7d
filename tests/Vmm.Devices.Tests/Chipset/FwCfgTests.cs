using System.Buffers.Binary;
using System.Text;
using FsCheck.Xunit;
using Vmm.Core.Memory;
using Vmm.Devices.Boards;
using Vmm.Devices.Chipset;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests.Chipset;

public sealed class FwCfgTests : IDisposable
{
    private const ulong Ram = 0x10000;
    private const uint Error = 1, Read = 2, Skip = 4, Select = 8, Write = 16;

    private readonly Bench _bench = new();
    private readonly GuestMemory _memory = new();
    private readonly MemoryRegion _ram = MemoryRegion.Allocate("ram", Ram, 0x10000);
    private readonly MemoryRegion _rom = MemoryRegion.Allocate("rom", 0x80000, 0x1000, MemoryRegionKind.Rom);
    private readonly FwCfg _device;

    public FwCfgTests()
    {
        _memory.Add(_ram);
        _memory.Add(_rom);
        _device = new FwCfg(_memory);
        _bench.Ports.Map(0x510, FwCfg.SelectorLength, _device.SelectorPorts, _device);
        _bench.Ports.Map(0x514, FwCfg.DmaLength, _device.DmaPorts, _device);
        _device.SetFile("opt/test/b", "second"u8.ToArray());
        _device.SetFile("opt/test/a", "first"u8.ToArray());
    }

    public void Dispose()
    {
        _ram.Dispose();
        _rom.Dispose();
    }

    [Fact]
    public void Signature_OfBothInterfaces_IsThere()
    {
        Assert.Equal("QEMU", ReadItem(0, 4));
        Assert.Equal("\u0003\0\0\0", ReadItem(1, 4));
        Assert.Equal(0x47464320_554D4551ul, _bench.Ports.Read(0x514, 8));
    }

    [Fact]
    public void Directory_OfFiles_IsSortedAndTellsSelectors()
    {
        var directory = Encoding.Latin1.GetBytes(ReadItem(0x19, 4 + 2 * 64));
        Assert.Equal(2, BinaryPrimitives.ReadInt32BigEndian(directory));
        Assert.Equal(5, BinaryPrimitives.ReadInt32BigEndian(directory.AsSpan(4)));
        Assert.Equal(0x20, BinaryPrimitives.ReadUInt16BigEndian(directory.AsSpan(8)));
        Assert.StartsWith("opt/test/a\0", Encoding.Latin1.GetString(directory, 12, 56), StringComparison.Ordinal);
        Assert.Equal("first\0\0", ReadItem(0x20, 7));
        Assert.Equal("second", ReadItem(0x21, 6));
    }

    [Theory]
    [InlineData(0x22)]
    [InlineData(0x7FFF)]
    [InlineData(0xFFFF)]
    public void Selector_WithoutItem_ReadsZeros(int key) => Assert.Equal("\0\0\0", ReadItem((ushort)key, 3));

    [Fact]
    public void Dma_SelectSkipRead_CopiesAndZeroFills()
    {
        Assert.Equal(0u, Request(Select | Skip | 0x21u << 16, 3, 0));
        Assert.Equal(0u, Request(Read, 6, Ram + 0x100));
        Assert.Equal("ond\0\0\0", Text(Ram + 0x100, 6));
    }

    [Theory]
    [InlineData(0x200000ul, 4u)]
    [InlineData(0x80000ul, 4u)]
    [InlineData(0x1FFFEul, 4u)]
    [InlineData(ulong.MaxValue - 1, 4u)]
    [InlineData(0x10000ul, uint.MaxValue)]
    [InlineData(0x10000ul, (16u << 20) + 1)]
    public void Dma_ToWhatIsNotRamOrTooMuch_IsAnErrorAndWritesNothing(ulong target, uint length)
    {
        Assert.Equal(Error, Request(Select | Read | 0x20u << 16, length, target));
        Assert.Equal("\0\0", Text(0x1FFFE, 2));
    }

    [Fact]
    public void Dma_Write_IsRefused()
    {
        Assert.Equal(Error, Request(Select | Write | 0x20u << 16, 4, Ram));
        Assert.Equal("first", ReadItem(0x20, 5));
    }

    [Theory]
    [InlineData(0ul)]
    [InlineData(0x1FFF8ul)]
    [InlineData(ulong.MaxValue - 7)]
    public void Dma_DescriptorOutsideMemory_IsIgnored(ulong address)
    {
        _bench.Ports.Write(0x514, 4, BinaryPrimitives.ReverseEndianness((uint)(address >> 32)));
        _bench.Ports.Write(0x518, 4, BinaryPrimitives.ReverseEndianness((uint)address));
    }

    [Fact]
    public void Dma_IntoItsOwnDescriptor_IsHarmless() => Request(Select | Read | 0x20u << 16, 64, Ram);

    [Property(MaxTest = 300)]
    public void Dma_OfAnyDescriptor_Survives(uint control, uint length, ulong target, bool near)
    {
        Request(control, near ? length % 0x20000 : length, near ? target % 0x40000 : target);
        _bench.In(0x511);
    }

    [Theory]
    [InlineData("")]
    [InlineData("ä")]
    [InlineData("etc/a-name-that-is-longer-than-the-fifty-five-characters-allowed")]
    public void SetFile_OfAnImpossibleName_IsRefused(string name) => Assert.Throws<ArgumentException>(() => _device.SetFile(name, default));

    [Fact]
    public void State_HalfWayThroughAnItem_RoundTrips()
    {
        ReadItem(0x21, 2);
        var saved = FieldStore.Save(_device);
        ReadItem(0, 4);
        FieldStore.Load(_device, saved);
        Assert.Equal((byte)'c', _bench.In(0x511));
    }

    [Fact]
    public void TableLoader_RunAsFirmwareDoes_PutsWholeAcpiTablesAnywhere()
    {
        using var machine = new BoardMachine(new PcBoard());
        var files = Files(machine);
        var memory = new Dictionary<string, (ulong At, byte[] Bytes)>();
        var script = files["etc/table-loader"];
        for (var at = 0; at < script.Length; at += 128)
        {
            var entry = script.AsSpan(at, 128);
            var file = Name(entry[4..60]);
            switch (BinaryPrimitives.ReadUInt32LittleEndian(entry))
            {
                case 1:
                    memory[file] = (memory.Count == 0 ? 0x3FE_0000u : 0xF5000u, (byte[])files[file].Clone());
                    break;
                case 2:
                    var offset = BinaryPrimitives.ReadInt32LittleEndian(entry[116..]);
                    var slot = memory[file].Bytes.AsSpan(offset, entry[120]);
                    var target = memory[Name(entry[60..116])].At;
                    if (entry[120] == 8) BinaryPrimitives.WriteUInt64LittleEndian(slot, BinaryPrimitives.ReadUInt64LittleEndian(slot) + target);
                    else BinaryPrimitives.WriteUInt32LittleEndian(slot, BinaryPrimitives.ReadUInt32LittleEndian(slot) + (uint)target);
                    break;
                case 3:
                    var bytes = memory[file].Bytes;
                    bytes[BinaryPrimitives.ReadInt32LittleEndian(entry[60..])] -= Sum(bytes.AsSpan(BinaryPrimitives.ReadInt32LittleEndian(entry[64..]), BinaryPrimitives.ReadInt32LittleEndian(entry[68..])));
                    break;
            }
        }

        var rsdp = memory["etc/acpi/rsdp"].Bytes;
        var (start, tables) = memory["etc/acpi/tables"];
        Assert.Equal(0, Sum(rsdp.AsSpan(0, 20)));
        Assert.Equal(0, Sum(rsdp));
        var xsdt = Table(BinaryPrimitives.ReadUInt64LittleEndian(rsdp.AsSpan(24)), "XSDT");
        Table(BinaryPrimitives.ReadUInt32LittleEndian(rsdp.AsSpan(16)), "RSDT");
        var fadt = Table(BinaryPrimitives.ReadUInt64LittleEndian(xsdt.AsSpan(36)), "FACP");
        Table(BinaryPrimitives.ReadUInt64LittleEndian(xsdt.AsSpan(44)), "APIC");
        Table(BinaryPrimitives.ReadUInt64LittleEndian(fadt.AsSpan(140)), "DSDT");
        Assert.True(tables.AsSpan((int)(BinaryPrimitives.ReadUInt32LittleEndian(fadt.AsSpan(36)) - start), 4).SequenceEqual("FACS"u8));

        byte[] Table(ulong address, string signature)
        {
            var offset = (int)(address - start);
            var table = tables.AsSpan(offset, BinaryPrimitives.ReadInt32LittleEndian(tables.AsSpan(offset + 4))).ToArray();
            Assert.Equal(signature, Encoding.ASCII.GetString(table, 0, 4));
            Assert.Equal(0, Sum(table));
            return table;
        }
    }

    [Fact]
    public void PcBoard_WithFiles_TellsFirmwareOfThemAndOfMemory()
    {
        var options = new PcOptions();
        options = options with { FirmwareFiles = options.FirmwareFiles.Add("opt/seed", "42"u8.ToArray()) };
        using var machine = new BoardMachine(new PcBoard(options), vcpus: 3);
        var files = Files(machine);
        Assert.Equal("42"u8.ToArray(), files["opt/seed"]);
        Assert.Equal(machine.Boot.MemoryMap.Length * 20, files["etc/e820"].Length);
        Assert.Equal([2, 0], (byte[])[Cmos(machine, 0x5F), Cmos(machine, 0x5D)]);
        var above16 = Cmos(machine, 0x34) | Cmos(machine, 0x35) << 8;
        Assert.Equal(((64 << 20) + 0x20000 - (16 << 20)) >> 16, above16);
        machine.Out(0x402, (byte)'S');
        Assert.Equal(0xE9, machine.In(0x402));
        Assert.Equal("S", ((PcBoard)machine.Machine.Context.Board).FirmwareLog.Text);
    }

    private static byte Cmos(BoardMachine machine, byte index)
    {
        machine.Out(0x70, index);
        return machine.In(0x71);
    }

    private static Dictionary<string, byte[]> Files(BoardMachine machine)
    {
        var directory = Item(0x19, 4);
        var count = BinaryPrimitives.ReadInt32BigEndian(directory);
        directory = Item(0x19, 4 + count * 64);
        Dictionary<string, byte[]> files = [];
        for (var at = 4; at < directory.Length; at += 64)
        {
            files[Name(directory.AsSpan(at + 8, 56))] = Item(BinaryPrimitives.ReadUInt16BigEndian(directory.AsSpan(at + 4)), BinaryPrimitives.ReadInt32BigEndian(directory.AsSpan(at)));
        }

        return files;

        byte[] Item(ushort key, int length)
        {
            machine.Machine.Bus.Ports.Write(0x510, 2, key);
            return [.. Enumerable.Range(0, length).Select(_ => machine.In(0x511))];
        }
    }

    private static string Name(ReadOnlySpan<byte> bytes) => Encoding.ASCII.GetString(bytes).TrimEnd('\0');

    private string ReadItem(ushort key, int length)
    {
        _bench.Ports.Write(0x510, 2, key);
        return string.Concat(Enumerable.Range(0, length).Select(_ => (char)_bench.In(0x511)));
    }

    private string Text(ulong address, int length)
    {
        var bytes = new byte[length];
        Assert.True(_memory.TryRead(address, bytes));
        return Encoding.Latin1.GetString(bytes);
    }

    private uint Request(uint control, uint length, ulong target)
    {
        var descriptor = new byte[16];
        BinaryPrimitives.WriteUInt32BigEndian(descriptor, control);
        BinaryPrimitives.WriteUInt32BigEndian(descriptor.AsSpan(4), length);
        BinaryPrimitives.WriteUInt64BigEndian(descriptor.AsSpan(8), target);
        Assert.True(_memory.TryWrite(Ram, descriptor));
        _bench.Ports.Write(0x514, 4, 0);
        _bench.Ports.Write(0x518, 4, BinaryPrimitives.ReverseEndianness((uint)Ram));
        Assert.True(_memory.TryRead(Ram, descriptor.AsSpan(0, 4)));
        return BinaryPrimitives.ReadUInt32BigEndian(descriptor);
    }

    private static byte Sum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (var value in bytes) sum += value;
        return sum;
    }
}
