// Two ways to have a Linux for a while: one command and its result, or a shell to talk to.
// For a shell on your own terminal there is `vmm run --linux`.
using Vmm;

var result = await LinuxGuest.RunAsync(args.Length > 0 ? string.Join(' ', args) : "uname -a; grep -m1 'model name' /proc/cpuinfo");
Console.Write(result.Output);
Console.WriteLine($"exit code {result.ExitCode}");

await using var guest = await LinuxGuest.StartAsync(new LinuxGuestOptions { Configure = b => b.WithMemory(128 << 20) });
var console = guest.Console;
await console.WaitForAsync("# ");
await console.WriteLineAsync("free -m");
Console.WriteLine(await console.WaitForAsync("# "));
await console.WriteLineAsync("exit");
Console.WriteLine($"The guest ended: {(await guest.Machine.Completion).Kind}");
