using Vmm.Core;
using Vmm.Core.Boards;
using Vmm.Core.Boot;
using Vmm.TestSupport.Machines;

namespace Vmm.Devices.Tests.Support;

/// <summary>Machines with a real board and no CPU, and the boot context that their loader was given.</summary>
internal sealed class BoardMachine : IDisposable
{
    public BoardMachine(IBoard board, Func<VirtualMachineBuilder, VirtualMachineBuilder>? more = null, ulong memory = 64 << 20, int vcpus = 1)
    {
        Backend = FakeHypervisor.Halted();
        var builder = new VirtualMachineBuilder().WithBackend(Backend).WithBoard(() => board).WithMemory(memory).WithVcpus(vcpus)
            .WithTimeProvider(new FixedTime(Bench.Start))
            .WithBootLoader(new FakeLoader { Loading = context => Boot = context });
        Machine = (more?.Invoke(builder) ?? builder).Build();
    }

    public FakeHypervisor Backend { get; }

    public VirtualMachine Machine { get; }

    public BootContext Boot { get; private set; } = null!;

    public FakePartition Partition => Backend.Partitions[0];

    public byte In(ushort port) => (byte)Machine.Bus.Ports.Read(port, 1);

    public void Out(ushort port, byte value) => Machine.Bus.Ports.Write(port, 1, value);

    public byte[] Memory(ulong address, int length)
    {
        var bytes = new byte[length];
        Assert.True(Machine.Memory.TryRead(address, bytes), $"No memory at 0x{address:x}+0x{length:x}.");
        return bytes;
    }

    public void Dispose() => Machine.Dispose();
}
