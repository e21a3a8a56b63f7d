using System.IO.Pipelines;
using System.Text;
using System.Text.RegularExpressions;
using Vmm.Core.Telemetry;
using Vmm.Devices.Boards;
using Vmm.Devices.Serial;
using Vmm.Devices.Tests.Support;
using Vmm.TestSupport;

namespace Vmm.Devices.Tests.Serial;

/// <summary>The port with a pipe in a machine, from both sides.</summary>
public class SerialPipeTests
{
    private const ushort Base = 0x3F8, Ier = Base + 1, Fcr = Base + 2, Lsr = Base + 5;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Output_OfTheGuest_ReachesTheHostAndEndsWithTheMachine()
    {
        var console = new ConsolePipe();
        using (var machine = await StartAsync(console))
        {
            Say(machine, "hello\r\nlogin: ");
            Assert.Contains(machine.Machine.Timeline.Marks, m => m.Name == BootTimeline.FirstConsoleByte);
            Assert.Equal("hello", await console.ReadLineAsync(Cancel));
            var match = await console.WaitForAsync(new Regex("log(.)n: "), Cancel);
            Assert.Equal("i", match.Groups[1].Value);
            Say(machine, "last words");
        }

        Assert.Equal("last words", await console.ReadToEndAsync(Cancel));
        Assert.Null(await console.ReadLineAsync(Cancel));
        await Assert.ThrowsAsync<EndOfStreamException>(() => console.WaitForAsync("more", Cancel));
        Assert.Equal("hello\r\nlogin: last words", console.Text);
    }

    [Fact]
    public async Task Input_OfTheHost_ReachesTheGuestInOrder()
    {
        var console = new ConsolePipe();
        using var machine = await StartAsync(console);
        machine.Out(Fcr, 0x01);
        machine.Out(Ier, 0x01);
        var text = string.Concat(Enumerable.Range(0, 20_000).Select(i => (char)('a' + i % 26)));
        var writing = console.WriteAsync(text, Cancel);
        var read = new StringBuilder();
        while (read.Length < text.Length)
        {
            Cancel.ThrowIfCancellationRequested();
            if ((machine.In(Lsr) & 1) != 0) read.Append((char)machine.In(Base));
            else await Task.Yield();
        }

        await writing;
        Assert.Equal(text, read.ToString());
    }

    [Fact]
    public async Task Input_FloodOfAGuestThatDoesNotRead_StaysWithItsSender()
    {
        var toGuest = new Pipe(new PipeOptions(pauseWriterThreshold: 10_000, resumeWriterThreshold: 5000));
        var fromGuest = new Pipe();
        using var machine = await StartAsync(new Ends(toGuest.Reader, fromGuest.Writer));
        var sent = 0;
        while (true)
        {
            var flush = toGuest.Writer.WriteAsync(new byte[1000], Cancel);
            sent += 1000;
            if (!flush.IsCompleted && sent > 10_000 + 4096) break;
            if (!flush.IsCompleted) await Task.WhenAny(flush.AsTask(), Task.Delay(200, Cancel));
            Assert.True(sent < 30_000, "The port goes on swallowing input that nobody reads.");
            if (!flush.IsCompleted) break;
        }
    }

    [Fact]
    public async Task Output_ToAReaderWhoDoesNotRead_FillsTheTransmitterAndLosesOnlyWhatIsForced()
    {
        var toGuest = new Pipe();
        var fromGuest = new Pipe(new PipeOptions(pauseWriterThreshold: 4096, resumeWriterThreshold: 2048));
        using var machine = await StartAsync(new Ends(toGuest.Reader, fromGuest.Writer));
        var uart = ((MicroVmBoard)machine.Machine.Context.Board).Serial;
        machine.Out(Fcr, 0x01);
        List<byte> sent = [];
        while ((machine.In(Lsr) & 0x20) != 0)
        {
            var value = (byte)sent.Count;
            machine.Out(Base, value);
            sent.Add(value);
            Assert.True(sent.Count < 1 << 20, "There is no back-pressure.");
        }

        Assert.Equal(0, uart.DroppedOutput);
        machine.Out(Ier, 0x02);
        for (var i = 0; i < 15; i++)
        {
            machine.Out(Base, (byte)i);
            sent.Add((byte)i);
        }

        Assert.Equal(0, uart.DroppedOutput);
        machine.Out(Base, 0xEE);
        machine.Out(Base, 0xEE);
        Assert.Equal(2, uart.DroppedOutput);

        List<byte> read = [];
        while (read.Count < sent.Count)
        {
            var result = await fromGuest.Reader.ReadAsync(Cancel);
            foreach (var segment in result.Buffer) read.AddRange(segment.Span);
            fromGuest.Reader.AdvanceTo(result.Buffer.End);
        }

        Assert.Equal(sent, read);
        await Task.Run(async () =>
        {
            while ((machine.In(Lsr) & 0x20) == 0) await Task.Yield();
        }, Cancel);
        Assert.Equal(0x02, machine.In(Base + 2) & 0x0F); // the transmitter interrupt told of the room
    }

    [Fact]
    public async Task Output_WhenTheReaderHasGone_IsThrownAwayAndCounted()
    {
        var toGuest = new Pipe();
        var fromGuest = new Pipe();
        await fromGuest.Reader.CompleteAsync();
        using var machine = await StartAsync(new Ends(toGuest.Reader, fromGuest.Writer));
        var uart = ((MicroVmBoard)machine.Machine.Context.Board).Serial;
        while (uart.DroppedOutput < 1000)
        {
            Cancel.ThrowIfCancellationRequested();
            Assert.Equal(0x60, machine.In(Lsr) & 0x60);
            machine.Out(Base, 1);
        }
    }

    [Fact]
    public async Task Output_OfAHundredThousandBytes_AllocatesNothingOnTheVcpuThread()
    {
        var console = new ConsolePipe(1000);
        using var machine = await StartAsync(console);
        Action send = () =>
        {
            for (var i = 0; i < 100_000; i++)
            {
                machine.Machine.Bus.Ports.Write(Base, 1, (ulong)'.');
                machine.Machine.Bus.Ports.Read(Lsr, 1);
            }
        };
        send();
        var thread = new Thread(() => _allocated = Allocations.LeastOf(send));
        thread.Start();
        thread.Join();

        // The thread pool's own queue may grow by a segment; nothing is allocated for a byte.
        Assert.InRange(_allocated, 0, 100_000);
    }

    private long _allocated;

    [Fact]
    public async Task ConsolePipe_OverItsCapacity_KeepsTheLatest()
    {
        var console = new ConsolePipe(100);
        using (var machine = await StartAsync(console))
        {
            for (var i = 0; i < 100; i++) Say(machine, $"line {i}\n");
        }

        var rest = await console.ReadToEndAsync(Cancel);
        Assert.Equal(100, rest.Length);
        Assert.EndsWith("line 99\n", rest, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Connect_ASecondPipe_IsRefused()
    {
        using var machine = await StartAsync(new ConsolePipe());
        var board = (MicroVmBoard)machine.Machine.Context.Board;
        Assert.Throws<InvalidOperationException>(() => board.Serial.Connect(machine.Machine.Context, new ConsolePipe()));
    }

    [Fact]
    public async Task AddSerial_OfCom3_HasItsPortsAndPipe()
    {
        var console = new ConsolePipe();
        using var machine = new BoardMachine(new PcBoard(), b => b.AddSerial(3, () => console));
        await machine.Machine.StartAsync(Cancel);
        machine.Out(0x3E8, (byte)'!');
        Assert.Equal("!", await console.WaitForAsync("!", Cancel));
        Assert.Throws<Vmm.Core.Errors.VmmConfigurationException>(() => new BoardMachine(new PcBoard(), b => b.AddSerial(1, () => new ConsolePipe())));
    }

    private static async Task<BoardMachine> StartAsync(IDuplexPipe console)
    {
        var machine = new BoardMachine(new MicroVmBoard(new MicroVmOptions { Console = console }));
        await machine.Machine.StartAsync(Cancel);
        return machine;
    }

    private static void Say(BoardMachine machine, string text)
    {
        foreach (var value in Encoding.UTF8.GetBytes(text)) machine.Out(Base, value);
    }

    private sealed record Ends(PipeReader Input, PipeWriter Output) : IDuplexPipe;
}
