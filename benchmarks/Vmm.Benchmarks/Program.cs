using Vmm.Benchmarks;

// dotnet run -c Release --project benchmarks/Vmm.Benchmarks [boot|integer|memory|sse|blocks|fio]...
// dotnet run -c Release --project benchmarks/Vmm.Benchmarks programs [runs=5] [engines=interpreter,translator] [only=sort,chase]
if (args is [Engine.ChildArgument, var engine, var kernel, var initrd])
{
    await Engine.RunChildAsync(engine, kernel, initrd);
    return 0;
}

if (args is ["programs", ..])
{
    await ProgramBenchmark.RunAsync(args[1..]);
    return 0;
}

var wanted = args.Length == 0 ? ["integer", "memory", "sse", "boot"] : args;
foreach (var name in wanted)
{
    switch (name)
    {
        case "integer": LoopBenchmark.Run("integer loop", GuestLoops.Integer(20_000_000)); break;
        case "memory": LoopBenchmark.Run("memory loop", GuestLoops.Memory(30_000_000)); break;
        case "sse": LoopBenchmark.Run("SSE2 loop", GuestLoops.Sse(10_000_000)); break;
        case "boot": await BootBenchmark.RunAsync(); break;
        case "blocks": await BlockBenchmark.RunAsync(); break;
        case "fio": await FioBenchmark.RunAsync(); break;
        default:
            Console.Error.WriteLine($"There is no benchmark '{name}'; choose among blocks, boot, fio, integer, memory, sse, programs.");
            return 2;
    }
}

return 0;
