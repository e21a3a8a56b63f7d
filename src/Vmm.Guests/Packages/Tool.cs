using System.ComponentModel;
using System.Diagnostics;
using System.Text;

namespace Vmm.Guests.Packages;

/// <summary>Runs the host's package tools: no input, C locale, bounded output, and never longer than allowed.</summary>
internal static class Tool
{
    private const int MaximumCapture = 4 << 20, MaximumShownError = 600;
    private static readonly TimeSpan DrainTime = TimeSpan.FromSeconds(2);

    /// <summary>Runs a program to its end. Only cancellation throws; all else is told by the result.</summary>
    public static async Task<ToolResult> RunAsync(string program, IEnumerable<string> arguments, string? directory, TimeSpan timeout, CancellationToken cancellationToken)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = directory ?? "",
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        // Their output is read by this program, not by the user.
        start.Environment["LC_ALL"] = "C";
        start.Environment["DEBIAN_FRONTEND"] = "noninteractive";
        string shown = Path.GetFileName(program) + (start.ArgumentList.FirstOrDefault(a => !a.StartsWith('-') && !a.Contains("::")) is { } verb ? " " + verb : "");

        cancellationToken.ThrowIfCancellationRequested();
        using var process = new Process { StartInfo = start };
        try
        {
            process.Start();
        }
        catch (Exception e) when (e is Win32Exception or FileNotFoundException or PlatformNotSupportedException)
        {
            return new ToolResult(null, "", $"{program} cannot be run: {e.Message}") { Missing = true };
        }
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(timeout);
        using var drain = new CancellationTokenSource();
        Task<string> output = ReadAsync(process.StandardOutput, keepEnd: false, drain.Token);
        Task<string> error = ReadAsync(process.StandardError, keepEnd: true, drain.Token);
        bool timedOut = false;
        try
        {
            CloseInput(process);
            await WaitForEndAsync(process, limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            Kill(process);
            timedOut = true;
        }
        // A grandchild may hold the pipes open after the child's end.
        drain.CancelAfter(DrainTime);
        string outputText = await output.ConfigureAwait(false), errorText = await error.ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
        string tail = Shorten(errorText);
        if (timedOut)
            return new ToolResult(null, outputText, $"{shown} did not end within {timeout.TotalSeconds:f0} s and was killed{tail}");
        int code = process.ExitCode;
        return new ToolResult(code, outputText, code == 0 ? null : $"{shown} failed with exit code {code}{tail}");
    }

    // Process.WaitForExitAsync also waits for the end of redirected pipes, which a grandchild can hold for ever.
    private static async Task WaitForEndAsync(Process process, CancellationToken cancellationToken)
    {
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        process.EnableRaisingEvents = true;
        process.Exited += (_, _) => ended.TrySetResult();
        if (process.HasExited)
            return;
        await ended.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    private static void CloseInput(Process process)
    {
        try
        {
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // It has ended already.
        }
    }

    private static void Kill(Process process)
    {
        try
        {
            process.Kill(entireProcessTree: true);
        }
        catch (Exception e) when (e is InvalidOperationException or Win32Exception or AggregateException)
        {
            // It has ended by itself, or cannot be killed: either way there is nothing more to wait for.
        }
    }

    private static async Task<string> ReadAsync(StreamReader reader, bool keepEnd, CancellationToken cancellationToken)
    {
        var text = new StringBuilder();
        char[] buffer = new char[4096];
        try
        {
            while (true)
            {
                int got = await reader.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
                if (got == 0)
                    break;
                if (text.Length < MaximumCapture || keepEnd)
                    text.Append(buffer, 0, got);
                if (text.Length > 2 * MaximumCapture)
                    text.Remove(0, MaximumCapture);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            // What came until now is what there is.
        }
        return text.ToString();
    }

    private static string Shorten(string error)
    {
        string text = error.Trim();
        if (text.Length == 0)
            return "";
        if (text.Length > MaximumShownError)
            text = "..." + text[^MaximumShownError..];
        return ": " + string.Join(" | ", text.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries));
    }
}
