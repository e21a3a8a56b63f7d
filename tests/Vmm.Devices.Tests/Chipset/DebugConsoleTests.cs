using System.IO.Pipelines;
using System.Text;
using Vmm.Devices.Boards;
using Vmm.Devices.Chipset;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests.Chipset;

public class DebugConsoleTests
{
    [Fact]
    public void Text_OfMoreThanItsCapacity_KeepsTheLatest()
    {
        var console = new DebugConsole();
        for (var i = 0; i < DebugConsole.Capacity; i++) console.Write(0, 1, 'a');
        foreach (var letter in "the end") console.Write(0, 1, letter);
        Assert.Equal(DebugConsole.Capacity, console.Text.Length);
        Assert.EndsWith("aathe end", console.Text, StringComparison.Ordinal);
        Assert.Equal(DebugConsole.Capacity + 7, console.Written);
    }

    [Fact]
    public async Task Output_OfThePort_ReachesThePipe()
    {
        var pipe = new Pipe();
        using (var machine = new BoardMachine(new MicroVmBoard(), b => b.AddDebugConsole(() => pipe.Writer)))
        {
            Assert.Equal(0xE9, machine.In(0xE9));
            foreach (var letter in "boot") machine.Out(0xE9, (byte)letter);
        }

        using var reader = new StreamReader(pipe.Reader.AsStream(), Encoding.ASCII);
        Assert.Equal("boot", await reader.ReadToEndAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public void Flood_WithoutAReader_IsBoundedAndCounted()
    {
        var console = new DebugConsole(new Pipe(new PipeOptions(pauseWriterThreshold: 4096, resumeWriterThreshold: 1024)).Writer);
        for (var i = 0; i < 1_000_000; i++) console.Write(0, 1, 'x');
        Assert.InRange(console.Dropped, 500_000, 1_000_000);
        console.Dispose();
    }
}
