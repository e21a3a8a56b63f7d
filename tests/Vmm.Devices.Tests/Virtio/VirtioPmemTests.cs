using Vmm.Devices.Boards;
using Vmm.Devices.Pci;
using Vmm.Devices.Storage;
using Vmm.Devices.Tests.Support;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Devices.Virtio.Pmem;
using Vmm.TestSupport.Virtio;
using Buffer = Vmm.TestSupport.Virtio.Buffer;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>Persistent memory from the driver's side, and the file behind it. Its hostile requests are case 67 of the list of known attacks.</summary>
public sealed class VirtioPmemTests : IDisposable
{
    private const ulong Start = 4UL << 30, Length = 4 << 20, Request = VirtioBench.Data, Answer = VirtioBench.Data + 0x100;

    private readonly string _path = Path.GetTempFileName();

    public VirtioPmemTests()
    {
        using var file = File.OpenWrite(_path);
        file.SetLength((long)Length);
    }

    public void Dispose() => File.Delete(_path);

    [Theory]
    [InlineData(VirtioTransportKind.Mmio, false)]
    [InlineData(VirtioTransportKind.Mmio, true)]
    [InlineData(VirtioTransportKind.Pci, false)]
    [InlineData(VirtioTransportKind.Pci, true)]
    public async Task Flush_IsAnsweredWhenItIsDone(VirtioTransportKind transport, bool packed)
    {
        var flushes = 0;
        var device = new VirtioPmem(Start, Length, () => flushes++);
        using var bench = new VirtioBench(device, new VirtioOptions { Transport = transport, Packed = packed });
        bench.Driver.Start(1, 16);
        Assert.Equal(Start, bench.Bus.Mmio.Read(bench.Transport.ConfigAddress, 8));
        Assert.Equal(Length, bench.Bus.Mmio.Read(bench.Transport.ConfigAddress + 8, 8));
        Assert.Equal((0u, 4u), await SendAsync(bench, device, new Buffer(Request, 4), new Buffer(Answer, 4, true)));
        Assert.Equal(1, flushes);
    }

    [Fact]
    public async Task FlushThatFails_IsAnIoError()
    {
        var device = new VirtioPmem(Start, Length, () => throw new IOException("The disk is gone."));
        using var bench = new FailingBench(device);
        Assert.Equal((1u, 4u), await SendAsync(bench.Bench, device, new Buffer(Request, 4), new Buffer(Answer, 4, true)));
    }

    [Fact]
    public async Task Flushes_WhileOneRuns_ShareTheNext()
    {
        using var gate = new SemaphoreSlim(0);
        var flushes = 0;
        var device = new VirtioPmem(Start, Length, () =>
        {
            Interlocked.Increment(ref flushes);
            gate.Wait();
        });
        using var bench = new VirtioBench(device);
        bench.Driver.Start(1, 16);
        bench.Driver.Send(0, new Buffer(Request, 4), new Buffer(Answer, 4, true));
        while (Volatile.Read(ref flushes) == 0) await Task.Yield();
        for (var i = 0; i < 7; i++) bench.Driver.Send(0, new Buffer(Request, 4), new Buffer(Answer, 4, true));
        gate.Release(10);
        await device.DrainAsync();
        Assert.Equal(2, flushes);
        for (var i = 0; i < 8; i++) Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
    }

    [Fact]
    public async Task Case67_RequestsOfOtherTypesAndLengths_AreErrorsOrNothing()
    {
        var flushes = 0;
        var device = new VirtioPmem(Start, Length, () => flushes++);
        using var bench = new VirtioBench(device);
        bench.Driver.Start(1, 16);
        foreach (var type in (uint[])[1, 0x8000_0000, uint.MaxValue])
        {
            bench.Memory.TryWrite(Request, type);
            Assert.Equal((1u, 4u), await SendAsync(bench, device, new Buffer(Request, 4), new Buffer(Answer, 4, true)));
        }

        bench.Memory.TryWrite(Request, 0u);
        Assert.Equal((1u, 4u), await SendAsync(bench, device, new Buffer(Request, 3), new Buffer(Answer, 4, true)));
        Assert.Equal((1u, 4u), await SendAsync(bench, device, new Buffer(Answer, 4, true)));
        Assert.Equal(0, flushes);

        // No room for an answer.
        Assert.Equal((0xEEEE_EEEEu, 0u), await SendAsync(bench, device, new Buffer(Request, 4), new Buffer(Answer, 3, true)));
        Assert.Equal((0xEEEE_EEEEu, 0u), await SendAsync(bench, device, new Buffer(Request, 4)));
        Assert.Equal(2, device.Mistakes);

        // Longer than what is asked for: the first bytes count, no more are written.
        Assert.Equal((0u, 4u), await SendAsync(bench, device, new Buffer(Request, 0x1000), new Buffer(Answer, 0x1000, true)));
        Assert.Equal(1, flushes);
        Assert.False(bench.IsBroken);
    }

    [Fact]
    public async Task Reset_WithAFlushUnderWay_ReachesNobody()
    {
        using var gate = new SemaphoreSlim(0);
        var device = new VirtioPmem(Start, Length, gate.Wait);
        using var bench = new VirtioBench(device);
        bench.Driver.Start(1, 16);
        bench.Driver.Send(0, new Buffer(Request, 4), new Buffer(Answer, 4, true));
        bench.Driver.Start(1, 16);
        gate.Release(10);
        await device.DrainAsync();
        Assert.False(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
        Assert.Equal((0u, 4u), await SendAsync(bench, device, new Buffer(Request, 4), new Buffer(Answer, 4, true)));
    }

    [Theory]
    [InlineData(0UL, 0UL)]
    [InlineData(0x1000UL, 2UL << 20)]
    [InlineData(0UL, 3UL << 20)]
    public void Range_NotAligned_IsRefused(ulong start, ulong length) => Assert.Throws<ArgumentException>(() => new VirtioPmem(start, length, () => { }));

    [Theory]
    [InlineData(false, VirtioTransportKind.Mmio, 1UL << 30)]
    [InlineData(true, VirtioTransportKind.Pci, 5UL << 30)]
    public void File_InAMachine_IsMemoryAboveRam(bool pc, VirtioTransportKind transport, ulong ram)
    {
        Core.Boards.IBoard board = pc ? new PcBoard() : new MicroVmBoard();
        using (var machine = new BoardMachine(board, b => b.AddVirtioPmem("pmem", () => MappedFile.Open(_path), new VirtioOptions { Transport = transport }), ram))
        {
            var region = Assert.Single(machine.Machine.Memory.Regions, r => r.Name == "pmem");
            var end = Math.Max(4UL << 30, machine.Machine.Memory.Regions.Where(r => r != region).Max(r => r.End));
            Assert.Equal((end + VirtioPmem.Alignment - 1) / VirtioPmem.Alignment * VirtioPmem.Alignment, region.Start);
            Assert.Equal(Length, region.Length);
            Assert.True(machine.Machine.Memory.TryWrite(region.Start + Length - 8, 0x1122334455667788UL));
            Assert.Throws<IOException>(() => MappedFile.Open(_path));
        }

        Assert.Equal(0x1122334455667788UL, BitConverter.ToUInt64(File.ReadAllBytes(_path).AsSpan((int)Length - 8)));
    }

    [Fact]
    public void Files_Several_LieBesideEachOther()
    {
        var second = Path.GetTempFileName();
        try
        {
            using (var file = File.OpenWrite(second)) file.SetLength(2 << 20);
            using var machine = new BoardMachine(new MicroVmBoard(), b => b.AddVirtioPmem("a", () => MappedFile.Open(_path)).AddVirtioPmem("b", () => MappedFile.Open(second)), 64 << 20);
            Assert.Equal([4UL << 30, (4UL << 30) + Length], machine.Machine.Memory.Regions.Where(r => r.Name is "a" or "b").OrderBy(r => r.Name).Select(r => r.Start));
        }
        finally
        {
            File.Delete(second);
        }
    }

    [Fact]
    public void Function_EjectedByTheGuest_LeavesItsMemoryValid()
    {
        using var board = new BoardMachine(new MicroVmBoard(new MicroVmOptions { Pci = true }), b => b.AddVirtioPmem("pmem", () => MappedFile.Open(_path), new VirtioOptions { Transport = VirtioTransportKind.Pci, PciDevice = 3 }), 64 << 20);
        var region = board.Machine.Memory.Regions.Single(r => r.Name == "pmem");
        Assert.True(board.Machine.Memory.TryLend(region.Start, 4096, writable: true, out var lent));
        board.Machine.Bus.Ports.Write(BoardPorts.PciHotPlug + 8, 4, 1 << 3);
        Assert.DoesNotContain(board.Machine.Context.Devices, d => d.Name == "pmem");
        lent.Span.Fill(7);
        Assert.True(board.Machine.Memory.TryRead(region.Start, out byte value));
        Assert.Equal(7, value);
    }

    [Fact]
    public void Case78_MachinesMadeAndDisposed_AThousandTimes_LeaveNoFileAndNoMapping()
    {
        var disk = _path + ".disk";
        try
        {
            using (var file = File.Create(disk)) file.SetLength(1 << 20);
            for (var i = 0; i < 1000; i++)
            {
                var options = new VirtioOptions { Transport = i % 2 == 0 ? VirtioTransportKind.Mmio : VirtioTransportKind.Pci };
                using var board = new BoardMachine(new MicroVmBoard(new MicroVmOptions { Pci = true }), b => b.AddVirtioPmem("pmem", () => MappedFile.Open(_path), options).AddVirtioBlock("disk", () => RawFileStore.Open(disk), options: options), 1 << 20);
            }

            if (!OperatingSystem.IsLinux()) return;
            Assert.DoesNotContain(_path, File.ReadAllText("/proc/self/maps"), StringComparison.Ordinal);
            Assert.DoesNotContain(Directory.GetFiles("/proc/self/fd"), fd => new FileInfo(fd).LinkTarget is { } target && target.StartsWith(_path, StringComparison.Ordinal));
        }
        finally
        {
            File.Delete(disk);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(4095)]
    public void File_OfNoWholePages_IsRefused(int length)
    {
        File.WriteAllBytes(_path, new byte[length]);
        Assert.Contains("multiple of 4096", Assert.Throws<IOException>(() => MappedFile.Open(_path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void File_WithHoles_IsGivenItsBlocksBeforehand()
    {
        if (!OperatingSystem.IsLinux()) return;
        MappedFile.Open(_path).Dispose();
        var blocks = HostBlocks(_path);
        Assert.True(blocks * 512 >= (long)Length, $"{blocks} blocks");
    }

    private static long HostBlocks(string path)
    {
        using var stat = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("stat", ["-c", "%b", path]) { RedirectStandardOutput = true })!;
        return long.Parse(stat.StandardOutput.ReadToEnd(), System.Globalization.CultureInfo.InvariantCulture);
    }

    private static async Task<(uint Answer, uint Written)> SendAsync(VirtioBench bench, VirtioPmem device, params Buffer[] buffers)
    {
        bench.Memory.TryWrite(Answer, 0xEEEE_EEEEu);
        bench.Driver.Send(0, buffers);
        await device.DrainAsync();
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out var written));
        bench.Memory.TryRead(Answer, out uint answer);
        return (answer, written);
    }

    /// <summary>A bench whose device cannot flush, at its end neither.</summary>
    private sealed class FailingBench : IDisposable
    {
        public FailingBench(VirtioPmem device)
        {
            Bench = new VirtioBench(device);
            Bench.Driver.Start(1, 16);
        }

        public VirtioBench Bench { get; }

        public void Dispose() => Assert.Throws<IOException>(Bench.Dispose);
    }
}
