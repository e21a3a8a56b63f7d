using System.Runtime.InteropServices;
using Iced.Intel;
using Vmm.Core;
using Vmm.Core.Memory;
using Vmm.Core.X86;
using Vmm.TestSupport.Machines;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Guests;

/// <summary>A whole machine whose vCPUs count in memory of the test's own, which can be read whatever becomes of the machine.</summary>
public sealed unsafe class CountedMachine : IDisposable
{
    private const ulong Counter = 0x1000_0000;

    private readonly uint* _counter = (uint*)NativeMemory.AlignedAlloc(4096, 4096);

    /// <summary>Builds the machine.</summary>
    public CountedMachine(BackendUnderTest backend, GuestWork work, int vcpus)
    {
        new Span<byte>(_counter, 4096).Clear();
        Machine = new VirtualMachineBuilder().WithBackend(backend.Create()).WithBoard(() => new FakeBoard()).WithMemory(GuestTables.RamSize).WithVcpus(vcpus).WithCpuModel(backend.Model)
            .AddMemoryRegion(() => MemoryRegion.FromHost("counter", Counter, 4096, (nint)_counter))
            .WithBootLoader(new ProgramLoader(a => Program(a, work), user: work == GuestWork.UserLoop)).Build();
        Work = work;
        if (vcpus == 1) return;

        // The second vCPU runs the same program on a stack of its own.
        var state = new VcpuState();
        GuestTables.Write(Machine.Memory, state, 64, user: work == GuestWork.UserLoop);
        (state.Gpr[4], state.ApicBase) = (state.Gpr[4] - 0x1000, 0xFEE00800);
        Machine.Partition.Vcpus[1].SetState(state);
    }

    public VirtualMachine Machine { get; }

    public GuestWork Work { get; }

    /// <summary>How often the guest has come round.</summary>
    public uint Count => Volatile.Read(ref *_counter);

    /// <summary>Waits until a running guest has counted on, or is paused or ended by somebody else.</summary>
    public void AwaitProgress()
    {
        var before = Count;
        Assert.True(SpinWait.SpinUntil(() => Machine.State != MachineState.Running || Count != before, TestGuest.Patience), $"the guest stands still in state {Machine.State}");
    }

    public void Dispose()
    {
        Machine.Dispose();
        NativeMemory.AlignedFree(_counter);
    }

    private static void Program(Assembler a, GuestWork work)
    {
        var loop = a.CreateLabel();
        a.Label(ref loop);
        a.inc(__dword_ptr[Counter]);
        switch (work)
        {
            case GuestWork.PortExits:
                a.@out(0x70, al);
                break;
            case GuestWork.MmioExits:
                a.mov(ebx, 0xC000_0000);
                a.mov(eax, __dword_ptr[rbx]);
                break;
            case GuestWork.HaltsForEver:
                a.cli();
                a.hlt();
                break;
        }

        a.jmp(loop);
    }
}
