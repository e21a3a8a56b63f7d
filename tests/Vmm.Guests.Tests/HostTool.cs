using System.ComponentModel;
using System.Diagnostics;

namespace Vmm.Guests.Tests;

/// <summary>Runs a real tool as an oracle, bytes in and bytes out.</summary>
public static class HostTool
{
    /// <summary>Runs it, or skips the test where the host has it not (except where CI installs it).</summary>
    public static byte[] Run(string program, string[] arguments, byte[]? input = null, string? directory = null)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = directory ?? "",
        };
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (Win32Exception) when (Environment.GetEnvironmentVariable("CI") is null)
        {
            Assert.Skip($"{program} is not on this host");
            throw;
        }
        using (process)
        {
            Task<string> error = process.StandardError.ReadToEndAsync();
            Task feed = Task.Run(() =>
            {
                try
                {
                    process.StandardInput.BaseStream.Write(input ?? []);
                    process.StandardInput.Close();
                }
                catch (IOException)
                {
                    // It ended without reading all.
                }
            });
            var output = new MemoryStream();
            process.StandardOutput.BaseStream.CopyTo(output);
            feed.Wait();
            process.WaitForExit();
            Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}: exit code {process.ExitCode}: {error.Result}");
            return output.ToArray();
        }
    }
}
