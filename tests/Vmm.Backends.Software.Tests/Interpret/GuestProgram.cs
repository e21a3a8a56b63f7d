using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Core.Backends;
using Vmm.Core.Boot;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Tests.Interpret;

/// <summary>
/// A machine of 4 MiB that runs assembled code from 0x8000, without an interrupt table: it ends by HLT, or by an exception that
/// becomes a shutdown with the state of just before the instruction.
/// </summary>
internal sealed class GuestProgram : IDisposable
{
    public const ulong Start = 0x8000, Tables = 0x300000;

    private readonly MemoryRegion _ram = MemoryRegion.Allocate("ram", 0, 4 << 20);
    private readonly VmClock _clock = new(TimeProvider.System);
    private readonly SoftwarePartition _partition;

    public GuestProgram(int bitness, Action<Assembler> body, int vcpus = 1, bool userMode = false)
    {
        var memory = new GuestMemory();
        memory.Add(_ram);
        Bus = new SystemBus(memory);
        _partition = (SoftwarePartition)new SoftwareHypervisor { Engine = CpuEngine.Interpret }.CreatePartition(new PartitionOptions { Bus = Bus, Clock = _clock, VcpuCount = vcpus, CpuModel = CpuModel.Max });
        var code = Assemble(bitness, body);
        var mode = bitness switch { 16 => ProgramMode.Real, 32 => ProgramMode.Protected, _ => ProgramMode.Long };
        var boot = new ProgramBoot(code) { Mode = mode, LoadAddress = Start, UserMode = userMode };
        boot.Load(new BootContext(memory, [new MemoryMapEntry(0, 4 << 20, MemoryMapType.Ram)], 0, vcpus, ""), State);
    }

    /// <summary>The state to start with, and after <see cref="Run"/> the state at the end.</summary>
    public VcpuState State { get; } = new();

    public SystemBus Bus { get; }

    public Vcpu Cpu => _partition.Processors[0];

    public Vcpu Processor(int index) => _partition.Processors[index];

    public ref ulong this[int register] => ref State.Gpr[register];

    /// <summary>4 KiB pages for the first 2 MiB, in place of the loader's large ones, so that single pages can be taken away.</summary>
    public GuestProgram WithSmallPages(params ulong[] missing)
    {
        Write(Tables, Tables + 0x1000 | 7);
        Write(Tables + 0x1000, Tables + 0x2000 | 7);
        Write(Tables + 0x2000, Tables + 0x3000 | 7);
        for (ulong page = 0; page < 512; page++) Write(Tables + 0x3000 + page * 8, missing.Contains(page << 12) ? 0 : page << 12 | 7);
        State.Cr3 = Tables;
        return this;
    }

    /// <summary>Real mode: an interrupt handler at 0x600:0.</summary>
    public GuestProgram WithInterrupt(int vector, Action<Assembler> body)
    {
        Bytes(0x6000, Assemble(16, body));
        Write((ulong)vector * 4, 0x06000000U);
        return this;
    }

    public VcpuStop Run()
    {
        Cpu.SetState(State);
        var stop = Cpu.Run();
        Cpu.GetState(State);
        return stop;
    }

    public void Write<T>(ulong address, T value) where T : unmanaged => Xunit.Assert.True(Bus.Memory.TryWrite(address, value));

    public T Read<T>(ulong address) where T : unmanaged
    {
        Xunit.Assert.True(Bus.Memory.TryRead(address, out T value));
        return value;
    }

    public byte[] Bytes(ulong address, int count)
    {
        var bytes = new byte[count];
        Xunit.Assert.True(Bus.Memory.TryRead(address, bytes));
        return bytes;
    }

    public void Bytes(ulong address, params byte[] bytes) => Xunit.Assert.True(Bus.Memory.TryWrite(address, bytes));

    public void Dispose()
    {
        _partition.Dispose();
        _clock.Dispose();
        _ram.Dispose();
    }

    public static byte[] Assemble(int bitness, Action<Assembler> body)
    {
        var a = new Assembler(bitness);
        body(a);
        a.hlt();
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), Start);
        return stream.ToArray();
    }
}
