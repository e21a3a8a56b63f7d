using Vmm.Benchmarks;

const string Help = """
    Usage: dotnet run -c Release --project benchmarks/Vmm.Benchmarks -- [BENCHMARK]...

      integer, memory, sse   loops on the software CPU
      boot                   Debian's kernel to userspace and off, beside QEMU TCG if it is installed
      blocks, fio            virtio disks
      programs [runs=5] [engines=interpreter,translator] [only=sort,chase]
                             C programs in a guest, beside QEMU TCG and the host; needs gcc
      start [runs=31]        from nothing to the first instructions of a guest on the software CPU, beside a C program that maps memory and
                             jumps into it, in turns; needs gcc. Exit code 1 if a ratio is above its bound
      kvm [runs=31] [only=exits,life,kick,interrupt,many,loop]
                             the KVM backend beside a C program with the same ioctls, in turns: exits, life of VMs, kicks, interrupts,
                             a user-mode loop; needs /dev/kvm, gcc and linux/kvm.h. Exit code 1 if a ratio is above its bound

    Without arguments: integer, memory, sse and boot.
    """;

if (args is ["--help" or "-h" or "help", ..])
{
    Console.WriteLine(Help);
    return 0;
}

if (args is [Engine.ChildArgument, var engine, var kernel, var initrd, .. var disks])
{
    await Engine.RunChildAsync(engine, kernel, initrd, disks);
    return 0;
}

if (args is ["programs", ..])
{
    await ProgramBenchmark.RunAsync(args[1..]);
    return 0;
}

if (args is ["start", ..]) return StartBenchmark.Run(args[1..]) ? 0 : 1;

if (args is ["kvm", ..]) return KvmBenchmark.Run(args[1..]) ? 0 : 1;

if (args is ["fio", ..])
{
    await FioBenchmark.RunAsync(args[1..]);
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
        default:
            Console.Error.WriteLine($"There is no benchmark '{name}'.\n{Help}");
            return 2;
    }
}

return 0;
