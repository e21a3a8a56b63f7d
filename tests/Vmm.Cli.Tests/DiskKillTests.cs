using System.Diagnostics;
using System.Text;
using Vmm.Cli.Tests.Support;
using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.Guests;

namespace Vmm.Cli.Tests;

/// <summary><c>vmm</c> is killed while its guest writes with flushes. VMM_TEST_GUEST_KILLS sets how often.</summary>
public class DiskKillTests
{
    private const int Block = 4096, Blocks = 1000;

    // Each block is written once, and told of when its flush is done.
    private const string Script = "i=0; while [ $i -lt 1000 ]; do yes \"block $i\" | head -c 4096 | dd of=/dev/vda bs=4096 seek=$((i * 37 % 1000)) conv=notrunc,fsync 2>/dev/null; echo \"wrote $i\"; i=$((i+1)); done";

    [Fact]
    public async Task Process_KilledWhileTheGuestWrites_LosesNothingFlushed()
    {
        try
        {
            await new GuestImages().FindKernelAsync(cancellationToken: TestContext.Current.CancellationToken);
        }
        catch (GuestImageException e)
        {
            Assert.Skip(e.Message);
        }

        var kills = int.TryParse(Environment.GetEnvironmentVariable("VMM_TEST_GUEST_KILLS"), out var n) ? n : 1;
        for (var kill = 0; kill < kills; kill++)
        {
            using var cli = new CliRun();
            var path = cli.PathOf("disk.qcow2");
            Assert.Equal(0, await cli.RunAsync("image", "create", path, "8M", "--format", "qcow2", "--cluster-size", "4K"));
            var wrote = await RunAndKillAsync(path, after: 1 + kill * 7 % 40);
            await CheckByQemuAsync(path);
            await using var disk = (Qcow2Store)await DiskImage.OpenAsync(path, DiskFormat.Qcow2);
            Assert.Equal(0, (await disk.CheckAsync()).Corruptions);
            var found = new byte[Block];
            for (var i = 0; i < wrote; i++)
            {
                await disk.ReadAsync(i * 37 % Blocks * Block, found);
                Assert.StartsWith($"block {i}\n", Encoding.ASCII.GetString(found));
            }
        }
    }

    /// <summary>Sound, or with clusters that are counted and not used.</summary>
    private static async Task CheckByQemuAsync(string path)
    {
        Process check;
        try
        {
            check = Process.Start(new ProcessStartInfo("qemu-img", ["check", "-f", "qcow2", path]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        }
        catch (System.ComponentModel.Win32Exception) when (Environment.GetEnvironmentVariable("CI") is null)
        {
            return; // our own check follows
        }

        using (check)
        {
            var said = await check.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken) + await check.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
            await check.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.True(check.ExitCode is 0 or 3, said);
        }
    }

    private static async Task<int> RunAndKillAsync(string path, int after)
    {
        var start = new ProcessStartInfo("dotnet", [typeof(CommandLine).Assembly.Location, "run", "--linux", "--append", "quiet", "--disk", $"{path},format=qcow2", "--command", Script])
        {
            RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true,
        };
        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        var wrote = 0;
        while (await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is { } line)
        {
            // The last line may be cut short by the kill.
            if (!line.StartsWith("wrote ", StringComparison.Ordinal) || line.TrimEnd() != $"wrote {wrote}") continue;
            if (++wrote == after) process.Kill();
        }

        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(wrote >= after, $"The guest wrote {wrote} blocks: {await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken)}");
        return wrote;
    }
}
