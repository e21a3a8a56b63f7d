using System.IO.Pipelines;
using System.Buffers;
using System.Text;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Console;
using Vmm.TestSupport.Machines;
using Vmm.TestSupport.Virtio;
using Buffer = Vmm.TestSupport.Virtio.Buffer;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>The console from the driver's side and from the host's.</summary>
public sealed class VirtioConsoleTests : IDisposable
{
    private const ulong Control = VirtioBench.Data, Outgoing = VirtioBench.Data + 0x8000, Incoming = VirtioBench.Data + 0xC000;

    private readonly Wires _first = new();
    private readonly Wires _second = new();
    private readonly VirtioConsole _console;
    private readonly VirtioBench _bench;

    public VirtioConsoleTests()
    {
        _console = new VirtioConsole(new VirtioConsolePort("term", _first, IsConsole: true), new VirtioConsolePort("agent.0", _second), new VirtioConsolePort("nobody", null));
        _bench = new VirtioBench(_console);
    }

    public void Dispose() => _bench.Dispose();

    [Fact]
    public void Ports_Multiport_AreAnnounced()
    {
        Start();
        Say(0, 0, 1);
        Assert.Equal(["add 0", "add 1", "add 2"], Hear());
        _console.SetWindowSize(132, 43);
        Assert.Equal(["size 0 132x43"], Hear());
        for (uint port = 0; port < 3; port++) Say(port, 3, 1);
        Assert.Equal(["console 0", "size 0 132x43", "name 0 term", "open 0 1", "name 1 agent.0", "open 1 1", "name 2 nobody", "open 2 0"], Hear());
        Assert.Equal(0, _console.Mistakes);
    }

    [Fact]
    public async Task Output_OfAPort_ReachesItsPipe()
    {
        Start();
        _bench.Memory.TryWrite(Outgoing, "hello from the guest"u8);
        _bench.Driver.Send(5, new Buffer(Outgoing, 6), new Buffer(Outgoing + 6, 14));
        Assert.True(_bench.Driver.Queues[5].TryTakeUsed(out _, out var written));
        Assert.Equal(0u, written);
        Assert.Equal("hello from the guest", await _second.ReadAsync(20));
    }

    [Fact]
    public async Task Input_OfAPort_WaitsUntilItIsOpenAndHasBuffers()
    {
        Start();
        await _second.FromHost.Writer.WriteAsync("hello guest"u8.ToArray());
        _bench.Driver.Send(4, new Buffer(Incoming, 6, true));
        Assert.False(_bench.Driver.Queues[4].TryTakeUsed(out _, out _));
        Say(1, 6, 1);
        await TestMachine.UntilAsync(() => _bench.Driver.Queues[4].TryTakeUsed(out _, out _));
        Assert.Equal("hello "u8, _bench.Read(Incoming, 6));
        _bench.Driver.Send(4, new Buffer(Incoming, 100, true));
        var length = 0u;
        await TestMachine.UntilAsync(() => _bench.Driver.Queues[4].TryTakeUsed(out _, out length));
        Assert.Equal(5u, length);
        Assert.Equal("guest"u8, _bench.Read(Incoming, 5));
    }

    [Fact]
    public async Task Output_OfGigabytesToASlowReader_WaitsWithItsChain()
    {
        Start();
        var sent = 0;
        while (_bench.Driver.Queues[5].TryTakeUsed(out _, out _) || sent == 0)
        {
            _bench.Memory.TryFill(Outgoing, 0x4000, (byte)('a' + sent));
            _bench.Driver.Send(5, new Buffer(Outgoing, 0x4000));
            sent++;
            Assert.True(sent < 1000);
        }

        for (var i = 0; i < sent; i++)
        {
            var text = await _second.ReadAsync(0x4000);
            if (i < 2) Assert.Equal(new string((char)('a' + i), 0x4000), text);
        }

        await TestMachine.UntilAsync(() => _bench.Driver.Queues[5].TryTakeUsed(out _, out _));
    }

    [Fact]
    public async Task Output_WithTheReaderGone_IsDropped()
    {
        Start();
        await _second.ToHost.Reader.CompleteAsync();
        for (var i = 0; i < 100; i++)
        {
            _bench.Driver.Send(5, new Buffer(Outgoing, 0x4000));
            await TestMachine.UntilAsync(() => _bench.Driver.Queues[5].TryTakeUsed(out _, out _));
        }

        Assert.True(_console.Undelivered(1) > 0);
        _bench.Driver.Send(7, new Buffer(Outgoing, 0x4000));
        Assert.True(_bench.Driver.Queues[7].TryTakeUsed(out _, out _));
    }

    [Fact]
    public void Messages_Malformed_AreCountedAndHarmless()
    {
        Start();
        foreach (var (id, kind) in ((uint, ushort)[])[(3, 3), (uint.MaxValue, 6), (0, 99), (0, 1), (1, 7)]) Say(id, kind, 1);
        _bench.Driver.Send(3, new Buffer(Outgoing, 7));
        _bench.Driver.Send(3, new Buffer(Outgoing, 8, true));
        Assert.Equal(7, _console.Mistakes);
        Assert.False(_bench.IsBroken);
    }

    [Fact]
    public void Announcements_Flooded_DoNotPileUp()
    {
        Start(feed: false);
        for (var i = 0; i < 10_000; i++)
        {
            Say(1, 3, 1);
            _console.SetWindowSize(i, i);
        }

        Feed();
        Assert.Equal(["size 0 9999x9999", "name 1 agent.0", "open 1 1"], Hear());
    }

    [Fact]
    public async Task Character_ByEmergencyWrite_IsPrinted()
    {
        _bench.Transport.WriteConfig(8, 4, '!');
        Assert.Equal("!", await _first.ReadAsync(1));
    }

    [Fact]
    public async Task Driver_WithoutMultiport_HasThePortAndTheSize()
    {
        _bench.Driver.Start(2, 16, ~2UL);
        _console.SetWindowSize(80, 25);
        Assert.True(_bench.Transport.TakeInterrupt(null));
        Assert.Equal(80u | 25 << 16, _bench.Transport.ReadConfig(0, 4));
        _bench.Driver.Send(0, new Buffer(Incoming, 100, true));
        await _first.FromHost.Writer.WriteAsync("x"u8.ToArray());
        await TestMachine.UntilAsync(() => _bench.Driver.Queues[0].TryTakeUsed(out _, out _));
        Assert.Equal((byte)'x', _bench.Read(Incoming, 1)[0]);
    }

    [Theory]
    [InlineData("")]
    [InlineData("a\0b")]
    [InlineData("0123456789012345678901234567890123456789012345678901234567890123")]
    public void Name_ThatIsNone_IsRefused(string name) => Assert.Throws<ArgumentException>(() => new VirtioConsole(new VirtioConsolePort(name, null)));

    private void Start(bool feed = true)
    {
        _bench.Driver.Start(8, 16);
        if (feed) Feed();
    }

    private void Feed()
    {
        for (ulong i = 0; i < 16; i++) _bench.Driver.Send(2, new Buffer(Control + i * 0x100, 0x100, true));
    }

    private void Say(uint id, ushort kind, ushort value)
    {
        _bench.Memory.TryWrite(Outgoing, id | (ulong)kind << 32 | (ulong)value << 48);
        _bench.Driver.Send(3, new Buffer(Outgoing, 8));
        Assert.True(_bench.Driver.Queues[3].TryTakeUsed(out _, out _));
    }

    private List<string> Hear()
    {
        List<string> heard = [];
        while (_bench.Driver.Queues[2].TryTakeUsed(out var head, out var length))
        {
            var bytes = _bench.Read(Control + (ulong)head * 0x100, (int)length);
            var (id, value) = (bytes[0], bytes[6]);
            heard.Add(bytes[4] switch
            {
                1 => $"add {id}",
                4 => $"console {id}",
                5 => $"size {id} {BitConverter.ToUInt16(bytes, 8)}x{BitConverter.ToUInt16(bytes, 10)}",
                6 => $"open {id} {value}",
                7 => $"name {id} {Encoding.UTF8.GetString(bytes, 8, bytes.Length - 8)}",
                var other => $"{other}?",
            });
            _bench.Driver.Send(2, new Buffer(Control + (ulong)head * 0x100, 0x100, true));
        }

        return heard;
    }

    /// <summary>A port's pipe with both ends in the test's hand.</summary>
    private sealed class Wires : IDuplexPipe
    {
        public Pipe ToHost { get; } = new();

        public Pipe FromHost { get; } = new();

        PipeReader IDuplexPipe.Input => FromHost.Reader;

        PipeWriter IDuplexPipe.Output => ToHost.Writer;

        public async Task<string> ReadAsync(int length)
        {
            var result = await ToHost.Reader.ReadAtLeastAsync(length);
            var taken = result.Buffer.Slice(0, length);
            var text = Encoding.UTF8.GetString(taken);
            ToHost.Reader.AdvanceTo(taken.End);
            return text;
        }
    }
}
