using System.Text;
using Vmm.Cli.Tests.Support;

namespace Vmm.Cli.Tests.Running;

public class ConsoleTests
{
    private const byte CtrlA = 1;

    [Fact]
    public async Task Output_OfGuest_IsStandardOutputByteForByte()
    {
        using var cli = new CliRun();
        Assert.Equal(0, await cli.RunRomAsync(Rom.PowersOff("hello\r\n\x1B[1m!")));
        Assert.Equal("hello\r\n\x1B[1m!", cli.Output);
        Assert.Empty(cli.Text);
    }

    [Fact]
    public async Task Input_Piped_ReachesGuestByteForByte()
    {
        using var cli = new CliRun { Input = new MemoryStream([CtrlA, (byte)'x', CtrlA, CtrlA, 0, 0xFF, (byte)'\n', (byte)'q']) };
        Assert.Equal(0, await cli.RunRomAsync(Rom.Echoes()));
        Assert.Equal("\x01x\x01\x01\0\xFF\nq", cli.Output);
    }

    [Fact]
    public async Task Input_PipedLongerThanAllBuffers_ReachesGuest()
    {
        var text = string.Concat(Enumerable.Range(0, 3000).Select(i => $"line {i}\n")) + "q";
        using var cli = new CliRun { Input = new MemoryStream(Encoding.ASCII.GetBytes(text)) };
        Assert.Equal(0, await cli.RunRomAsync(Rom.Echoes()));
        Assert.Equal(text, cli.Output);
    }

    [Fact]
    public async Task Input_AtItsEnd_IsNoError()
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.TimedOut, await cli.RunRomAsync(Rom.Echoes("ready"), "--timeout", "0.3"));
        Assert.Equal("ready", cli.Output);
    }

    [Fact]
    public async Task Terminal_CtrlAX_LeavesAndGivesTheTerminalBack()
    {
        var typed = new TypedStream();
        var raw = new Raw();
        using var cli = new CliRun { Input = typed.Stream, IsTerminal = true, EnterRawMode = raw.Enter };
        await typed.TypeAsync((byte)'a', CtrlA);
        var run = cli.RunRomAsync(Rom.Echoes());
        await typed.TypeAsync((byte)'x');
        Assert.Equal(ExitCode.Interrupted, await run);
        Assert.Equal((1, 1), (raw.Entered, raw.Left));
        Assert.Contains("Ctrl-A x leaves", cli.Error);
    }

    [Fact]
    public async Task Terminal_CtrlATwice_SendsOne()
    {
        var typed = new TypedStream();
        using var cli = new CliRun { Input = typed.Stream, IsTerminal = true };
        await typed.TypeAsync(CtrlA, CtrlA, 3, (byte)'q');
        Assert.Equal(0, await cli.RunRomAsync(Rom.Echoes()));
        Assert.Equal("\x01\x03q", cli.Output);
    }

    [Fact]
    public async Task Terminal_CtrlAH_TellsTheKeys()
    {
        var typed = new TypedStream();
        using var cli = new CliRun { Input = typed.Stream, IsTerminal = true };
        await typed.TypeAsync(CtrlA, (byte)'h', (byte)'q');
        Assert.Equal(0, await cli.RunRomAsync(Rom.Echoes()));
        Assert.Contains("kill the guest and leave", cli.Output);
        Assert.EndsWith("q", cli.Output);
    }

    [Fact]
    public async Task Terminal_GuestEndsBadly_IsGivenBack()
    {
        var raw = new Raw();
        using var cli = new CliRun { Input = new TypedStream().Stream, IsTerminal = true, EnterRawMode = raw.Enter };
        Assert.Equal(ExitCode.TripleFault, await cli.RunRomAsync(Rom.TripleFaults()));
        Assert.Equal((1, 1), (raw.Entered, raw.Left));
    }

    [Fact]
    public async Task Console_None_ShowsNothingAndReadsNothing()
    {
        using var cli = new CliRun { Input = new MemoryStream("q"u8.ToArray()) };
        Assert.Equal(ExitCode.TimedOut, await cli.RunRomAsync(Rom.Echoes("hello"), "--console", "none", "--timeout", "0.2"));
        Assert.Empty(cli.Output);
    }

    [Fact]
    public async Task Console_File_GetsTheOutput()
    {
        using var cli = new CliRun();
        Assert.Equal(0, await cli.RunRomAsync(Rom.PowersOff("to a file"), "--console", cli.PathOf("log")));
        Assert.Equal("to a file", await File.ReadAllTextAsync(cli.PathOf("log")));
        Assert.Empty(cli.Output);
    }

    [Fact]
    public async Task Console_FileThatCannotBe_IsABadArgument()
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.BadArguments, await cli.RunRomAsync(Rom.PowersOff(), "--console", cli.PathOf("no/such/directory")));
        Assert.Contains("--console", cli.Error);
    }

    [Fact]
    public async Task Kernel_Multiboot_GetsCommandLineAndModules()
    {
        using var cli = new CliRun();
        string kernel = cli.File("kernel", MultibootKernel.Make()), one = cli.File("one", [1]), two = cli.File("two", [2, 2]);
        Assert.Equal(5, await cli.RunAsync("run", "--kernel", kernel, "--append", "a=1 b", "--module", one, "--module", $"{two}=ro x=y", "--debug-exit", "0xf4"));
        var lines = cli.Output.Split('\n');
        Assert.Contains("a=1 b", lines[0]);
        Assert.Equal([one, $"{two} ro x=y"], lines[1..3]);
    }

    private sealed class Raw : IDisposable
    {
        public int Entered { get; private set; }

        public int Left { get; private set; }

        public IDisposable Enter()
        {
            Entered++;
            return this;
        }

        public void Dispose() => Left++;
    }
}
