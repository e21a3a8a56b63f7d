using CustomDevice;

var (output, exit, time) = await AlarmSample.RunAsync(times: 3, microseconds: 20_000);
Console.WriteLine($"The guest printed {output} and ended: {exit.Kind}, after {time / 1e6:f1} ms of its time.");
