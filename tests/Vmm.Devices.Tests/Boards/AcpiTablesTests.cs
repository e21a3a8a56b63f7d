using System.Buffers.Binary;
using System.Text;
using Vmm.Core;
using Vmm.Core.Boards;
using Vmm.Devices.Boards;
using Vmm.Devices.Chipset;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests.Boards;

public class AcpiTablesTests
{
    [Theory]
    [InlineData("microvm", 1)]
    [InlineData("microvm", 2)]
    [InlineData("microvm-pci", 2)]
    [InlineData("pc", 1)]
    [InlineData("pc", 255)]
    public void Tables_OfEachBoard_HaveRightLengthsAndChecksums(string board, int vcpus)
    {
        using var machine = Make(board, vcpus);
        var tables = Tables(machine);
        Assert.Equal(["APIC", "DSDT", "FACP", "FACS", .. board == "microvm" ? (string[])[] : ["MCFG"], "RSDT", "XSDT"], tables.Keys.Order());
        foreach (var (name, table) in tables.Where(t => t.Key != "FACS")) Assert.True(Sum(table) == 0, $"{name} sums to {Sum(table)}.");
        var rsdp = machine.Memory(machine.Boot.RsdpAddress, 36);
        Assert.Equal(0, Sum(rsdp.AsSpan(0, 20)));
        Assert.Equal(0, Sum(rsdp));
        Assert.Equal(2, rsdp[15]);
    }

    [Fact]
    public void Madt_WithManyVcpus_NamesEachOnceAndTheOverrides()
    {
        using var machine = Make("microvm", 255);
        var madt = Tables(machine)["APIC"];
        Assert.Equal(0xFEE0_0000u, BinaryPrimitives.ReadUInt32LittleEndian(madt.AsSpan(36)));
        List<byte> ids = [];
        List<(byte Irq, uint Gsi, ushort Flags)> overrides = [];
        for (var at = 44; at < madt.Length; at += madt[at + 1])
        {
            if (madt[at] == 0) ids.Add(madt[at + 3]);
            if (madt[at] == 2) overrides.Add((madt[at + 3], BinaryPrimitives.ReadUInt32LittleEndian(madt.AsSpan(at + 4)), BinaryPrimitives.ReadUInt16LittleEndian(madt.AsSpan(at + 8))));
        }

        Assert.Equal(Enumerable.Range(0, 255).Select(i => (byte)i), ids);
        Assert.Equal([((byte)0, 2u, (ushort)0), ((byte)9, 9u, (ushort)0x0D)], overrides);
    }

    [Theory]
    [InlineData("microvm", 1)]
    [InlineData("microvm", 2)]
    [InlineData("microvm-pci", 2)]
    [InlineData("pc", 4)]
    [InlineData("pc", 255)]
    public void Iasl_OnEveryTable_FindsNothingWrong(string board, int vcpus)
    {
        Assert.SkipWhen(Iasl.WhyNot is not null, Iasl.WhyNot ?? "");
        using var machine = Make(board, vcpus);
        var directory = Directory.CreateTempSubdirectory("vmm-acpi").FullName;
        try
        {
            foreach (var (name, table) in Tables(machine))
            {
                File.WriteAllBytes(Path.Combine(directory, $"{name}.aml"), table);
                var (code, output) = Iasl.Run(directory, "-d", $"{name}.aml");
                Assert.True(code == 0 && !Complains(output), $"iasl -d {name} said:\n{output}");
                var source = File.ReadAllText(Path.Combine(directory, $"{name}.dsl"));
                Assert.DoesNotContain("Incorrect checksum", source, StringComparison.OrdinalIgnoreCase);
                Assert.DoesNotContain("Invalid", source, StringComparison.Ordinal);
            }

            var (compiled, said) = Iasl.Run(directory, "-p", "again", "DSDT.dsl");
            Assert.True(compiled == 0 && said.Contains("0 Errors, 0 Warnings", StringComparison.Ordinal), $"iasl on the DSDT's source said:\n{said}");
            Assert.Equal(Tables(machine)["DSDT"].AsSpan(36).ToArray(), File.ReadAllBytes(Path.Combine(directory, "again.aml")).AsSpan(36).ToArray());
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void Dsdt_WithPlacedAndPortDevices_DescribesThem()
    {
        Assert.SkipWhen(Iasl.WhyNot is not null, Iasl.WhyNot ?? "");
        using var machine = Make("pc", 1);
        var directory = Directory.CreateTempSubdirectory("vmm-acpi").FullName;
        try
        {
            File.WriteAllBytes(Path.Combine(directory, "DSDT.aml"), Tables(machine)["DSDT"]);
            Iasl.Run(directory, "-d", "DSDT.aml");
            var source = File.ReadAllText(Path.Combine(directory, "DSDT.dsl"));
            foreach (var expected in (string[])["Name (_S5", "EisaId (\"PNP0501\")", "EisaId (\"PNP0303\")", "EisaId (\"PNP0F13\")", "EisaId (\"PNP0B00\")", "\"ACPI0007\"", "\"LNRO0005\"", "\"QEMU0001\"", "0xFEF00000", "0x00001000", "Interrupt (ResourceConsumer, Level, ActiveHigh, Shared", "PNP0A08", "_PRT", "_EJ0", "_E01", "WordBusNumber", "QWordMemory", "_OSC"])
            {
                Assert.Contains(expected, source, StringComparison.Ordinal);
            }
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static BoardMachine Make(string board, int vcpus)
    {
        IBoard made = board == "pc" ? new PcBoard() : new MicroVmBoard(new MicroVmOptions { Pci = board == "microvm-pci" });
        return new BoardMachine(made, b => b.AddPvPanic().AddPart(m =>
        {
            for (var i = 0; i < 20; i++) m.Board.Place($"disk{i}", 0x200, i == 3 ? null : "LNRO0005");
        }), vcpus: vcpus);
    }

    private static bool Complains(string output) => output.Contains("Error", StringComparison.Ordinal) || output.Contains("Warning", StringComparison.Ordinal);

    private static Dictionary<string, byte[]> Tables(BoardMachine machine)
    {
        var rsdp = machine.Memory(machine.Boot.RsdpAddress, 36);
        Assert.Equal("RSD PTR ", Encoding.ASCII.GetString(rsdp, 0, 8));
        Dictionary<string, byte[]> tables = [];
        Add(BinaryPrimitives.ReadUInt32LittleEndian(rsdp.AsSpan(16)));
        var xsdt = Add(BinaryPrimitives.ReadUInt64LittleEndian(rsdp.AsSpan(24)));
        for (var at = 36; at < xsdt.Length; at += 8) Add(BinaryPrimitives.ReadUInt64LittleEndian(xsdt.AsSpan(at)));
        var fadt = tables["FACP"];
        Add(BinaryPrimitives.ReadUInt32LittleEndian(fadt.AsSpan(36)));
        Add(BinaryPrimitives.ReadUInt64LittleEndian(fadt.AsSpan(140)));
        return tables;

        byte[] Add(ulong address)
        {
            var header = machine.Memory(address, 8);
            Assert.InRange(address, 0xE0000ul, 0xEFFFFul);
            return tables[Encoding.ASCII.GetString(header, 0, 4)] = machine.Memory(address, BinaryPrimitives.ReadInt32LittleEndian(header.AsSpan(4)));
        }
    }

    private static byte Sum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (var value in bytes) sum += value;
        return sum;
    }
}
