using System.Collections.Concurrent;
using Spectre.Console;
using Vmm.Cli.Terminal;
using Vmm.Guests;

namespace Vmm.Cli.Running;

/// <summary>Shows the search for guest images on standard error, once it does more than look at files.</summary>
internal sealed class GuestSearch : IProgress<GuestProgress>
{
    private readonly TaskCompletionSource _fetches = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ConcurrentQueue<GuestProgress> _news = new();
    private readonly Action<GuestProgress>? _tell;

    private GuestSearch(Action<GuestProgress>? tell) => _tell = tell;

    public static async Task<T> RunAsync<T>(HostStreams streams, Func<IProgress<GuestProgress>, Task<T>> search)
    {
        if (!streams.IsErrorTerminal) return await search(new GuestSearch(Lines(streams.Error))).ConfigureAwait(false);
        var progress = new GuestSearch(null);
        var found = search(progress);
        if (await Task.WhenAny(found, progress._fetches.Task).ConfigureAwait(false) == found) return await found.ConfigureAwait(false);
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(streams.Error) });
        await console.Progress().Columns(new SpinnerColumn(), new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new DownloadedColumn(), new TransferSpeedColumn())
            .StartAsync(context => progress.DrawAsync(context, found)).ConfigureAwait(false);
        return await found.ConfigureAwait(false);
    }

    public void Report(GuestProgress value)
    {
        if (_tell is not null)
        {
            _tell(value);
            return;
        }

        _news.Enqueue(value);
        if (IsFetch(value.Stage)) _fetches.TrySetResult();
    }

    // One line a stage, for logs.
    private static Action<GuestProgress> Lines(TextWriter error)
    {
        (GuestProgressStage, string)? last = null;
        return value =>
        {
            if (!IsFetch(value.Stage) || last == (value.Stage, value.What)) return;
            last = (value.Stage, value.What);
            error.WriteLine($"vmm: {Verb(value.Stage)} {value.What}");
        };
    }

    private static bool IsFetch(GuestProgressStage stage) => stage is GuestProgressStage.Waiting or GuestProgressStage.Updating or GuestProgressStage.Downloading or GuestProgressStage.Unpacking;

    private static string Verb(GuestProgressStage stage) => stage switch
    {
        GuestProgressStage.Waiting => "waiting for",
        GuestProgressStage.Updating => "updating",
        GuestProgressStage.Downloading => "fetching",
        _ => "unpacking",
    };

    private async Task DrawAsync(ProgressContext context, Task found)
    {
        Dictionary<(GuestProgressStage, string), ProgressTask> tasks = [];
        while (true)
        {
            var isDone = found.IsCompleted;
            while (_news.TryDequeue(out var value))
            {
                if (!IsFetch(value.Stage)) continue;
                if (!tasks.TryGetValue((value.Stage, value.What), out var task))
                {
                    foreach (var earlier in tasks.Values) Finish(earlier);
                    task = context.AddTask(Markup.Escape($"{Verb(value.Stage)} {value.What}"), maxValue: value.TotalBytes ?? 1);
                    tasks.Add((value.Stage, value.What), task);
                }

                task.IsIndeterminate = value.TotalBytes is null;
                if (value.TotalBytes is { } total) (task.MaxValue, task.Value) = (Math.Max(total, 1), value.Bytes);
            }

            if (isDone) break;
            await Task.WhenAny(found, Task.Delay(100)).ConfigureAwait(false);
        }

        foreach (var task in tasks.Values) Finish(task);
    }

    private static void Finish(ProgressTask task)
    {
        task.IsIndeterminate = false;
        task.Value = task.MaxValue;
        task.StopTask();
    }
}
