using System.Diagnostics;
using Vmm.Guests.Packages;

namespace Vmm.Guests.Tests.Packages;

public class ToolTests
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(2);

    public ToolTests() => Assert.SkipWhen(OperatingSystem.IsWindows(), "the tools are those of a Unix host");

    private static Task<ToolResult> Shell(string script, TimeSpan? timeout = null, CancellationToken cancellationToken = default) =>
        Tool.RunAsync("/bin/sh", ["-c", script], null, timeout ?? Long, cancellationToken);

    [Fact]
    public async Task Tool_Succeeding_GivesItsOutputAndHasNoInput()
    {
        ToolResult result = await Shell("cat; echo $LC_ALL");
        Assert.Equal(("C\n", true, 0), (result.Output, result.Succeeded, result.ExitCode));
    }

    [Fact]
    public async Task Tool_Failing_GivesExitCodeAndItsError()
    {
        ToolResult result = await Shell("echo 'E: no network' >&2; echo 'E: giving up' >&2; exit 100");
        Assert.Contains("exit code 100: E: no network | E: giving up", result.Problem);
        Assert.False(result.Missing);
    }

    [Fact]
    public async Task Tool_Missing_IsAResult()
    {
        ToolResult result = await Tool.RunAsync("/nonexistent/tool", [], null, Long, default);
        Assert.True(result.Missing);
        Assert.Contains("/nonexistent/tool cannot be run", result.Problem);
    }

    [Fact]
    public async Task Tool_TooSlow_IsKilledWithItsChildren()
    {
        using var scratch = new Scratch();
        ToolResult result = await Shell($"sleep 1000 & echo $! >{scratch.At("pid")}; echo started >&2; wait", TimeSpan.FromSeconds(1));
        Assert.Contains("did not end within 1 s and was killed: started", result.Problem);
        int child = int.Parse(await File.ReadAllTextAsync(scratch.At("pid")));
        Assert.True(IsGone(child));
    }

    [Fact]
    public async Task Tool_WhoseGrandchildKeepsThePipes_IsNotWaitedForLonger()
    {
        using var scratch = new Scratch();
        ToolResult result = await Shell($"sleep 1000 & echo $! >{scratch.At("pid")}; echo done");
        Assert.Equal((0, "done\n"), (result.ExitCode, result.Output));
        int child = int.Parse(await File.ReadAllTextAsync(scratch.At("pid")));
        using Process grandchild = Process.GetProcessById(child);
        grandchild.Kill();
    }

    [Fact]
    public async Task Tool_Noisy_IsCappedAndEnds()
    {
        ToolResult result = await Shell("yes | head -c 30000000; yes | head -c 30000000 >&2; exit 1");
        Assert.InRange(result.Output.Length, 4 << 20, 8 << 20);
        Assert.InRange(result.Problem!.Length, 10, 2000);
    }

    [Fact]
    public async Task Tool_Cancelled_IsKilledAndThrows()
    {
        using var cancel = new CancellationTokenSource();
        using var scratch = new Scratch();
        string pid = scratch.At("pid");
        Task<ToolResult> running = Shell($"echo $$ >{pid}.new; mv {pid}.new {pid}; exec sleep 1000", cancellationToken: cancel.Token);
        while (!File.Exists(pid))
            await Task.Yield();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
        Assert.True(IsGone(int.Parse(await File.ReadAllTextAsync(pid))));
    }

    // A killed process stays a zombie until its parent, or init, has noticed.
    private static bool IsGone(int pid)
    {
        try
        {
            string stat = File.ReadAllText($"/proc/{pid}/stat");
            return stat[stat.LastIndexOf(')') + 2] is 'Z' or 'X';
        }
        catch (IOException)
        {
            return true;
        }
    }
}
