using System.Diagnostics;
using System.Text;
using Vmm.Guests;

namespace Vmm.Benchmarks;

/// <summary>
/// A guest in a process of its own (QEMU, or this program as a child with an engine of Vmm), driven over its serial console. The guest waits
/// for each command, so that its CPU time is read while it is idle.
/// </summary>
internal sealed class GuestProcess : IDisposable
{
    /// <summary>Runs programs of /bench as told by lines "REPEATS NAME" and answers "done STATUS".</summary>
    public const string Script = """
        stty -echo
        echo "vmm: waiting"
        while read -r n p; do
          [ "$p" = end ] && break
          /bench/$p $n
          echo "done $?"
        done
        """;

    private const string Waiting = "vmm: waiting";
    private static readonly TimeSpan BootPatience = TimeSpan.FromSeconds(60), ProgramPatience = TimeSpan.FromSeconds(240);

    private readonly Process _process;
    private readonly StringBuilder _said = new();

    private GuestProcess(Process process) => _process = process;

    /// <summary>CPU time until the guest's user space was up.</summary>
    public double BootSeconds { get; private set; }

    /// <summary>Resident set of the process just after the boot, without what the guest has touched of its RAM.</summary>
    public double MebibytesBeyondRam { get; private set; }

    /// <summary>Starts it; null if it hung in its boot, as QEMU's microvm now and then does in the calibration of its TSC.</summary>
    public static async Task<GuestProcess?> StartAsync(Engine engine, string kernel, string initrd, params string[] disks)
    {
        var start = engine.Command(kernel, initrd, disks);
        start.RedirectStandardInput = start.RedirectStandardOutput = true;
        var guest = new GuestProcess(Process.Start(start)!);
        try
        {
            await guest.ReadUntilAsync(Waiting, BootPatience);
            guest.BootSeconds = ProcessTime.Seconds(guest._process.Id);
            guest.MebibytesBeyondRam = ProcessMemory.MebibytesBeyond(guest._process.Id, Engine.Ram(disks));
            return guest;
        }
        catch (OperationCanceledException)
        {
            guest.Dispose();
            return null;
        }
    }

    /// <summary>Host CPU time, in seconds, of so many repeats of a program, without its start and end, and without what the first time costs: the least of so many times.</summary>
    public async Task<double> MeasureAsync(string program, long repeats, int times = 1)
    {
        // Its pages, the engine's code for it and .NET's for the engine are there before anything is measured.
        await RunAsync(program, repeats);
        await SettleAsync();
        var least = double.MaxValue;
        for (var time = 0; time < times; time++)
        {
            var before = ProcessTime.Seconds(_process.Id);
            await RunAsync(program, 0);
            var between = ProcessTime.Seconds(_process.Id);
            await RunAsync(program, repeats);
            least = Math.Min(least, ProcessTime.Seconds(_process.Id) - between - (between - before));
        }

        return least;
    }

    // .NET compiles again, behind the scenes, what turned out to be hot: a second or so after a boot.
    private async Task SettleAsync()
    {
        for (var i = 0; i < 30; i++)
        {
            var before = ProcessTime.Seconds(_process.Id);
            await Task.Delay(TimeSpan.FromMilliseconds(150));
            if (ProcessTime.Seconds(_process.Id) - before < 0.005) return;
        }
    }

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
    }

    private async Task RunAsync(string program, long repeats)
    {
        _said.Clear();
        await _process.StandardInput.WriteAsync($"{repeats} {program}\n");
        await _process.StandardInput.FlushAsync();
        await ReadUntilAsync("done ", ProgramPatience);
        var text = _said.ToString();
        if (!text.Contains("ok 0x", StringComparison.Ordinal)) throw new InvalidDataException($"{program} failed in the guest: {text}");
    }

    private async Task ReadUntilAsync(string wanted, TimeSpan patience)
    {
        using var limit = new CancellationTokenSource(patience);
        var buffer = new char[1024];
        while (!_said.ToString().Contains(wanted, StringComparison.Ordinal))
        {
            var got = await _process.StandardOutput.ReadAsync(buffer, limit.Token);
            if (got == 0) throw new EndOfStreamException($"The guest ended: {_said}");
            _said.Append(buffer, 0, got);
        }
    }
}
