using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Vmm.Backends.Software;
using Vmm.Backends.Software.Cpu;
using Vmm.Core;
using Vmm.Core.Backends;
using Vmm.Core.Memory;
using Vmm.TestSupport.Oracle;

namespace Vmm.Guests.Tests.LockStep;

/// <summary>
/// Two machines built alike, with one vCPU and counted time, one run by the interpreter and one by the translator, in turns on one
/// thread. After every step the processors must be alike to the last bit; now and then so must memory and all devices.
/// </summary>
internal sealed class EnginePair : IDisposable
{
    private readonly VirtualMachine[] _machines;
    private readonly Vcpu[] _cpus;

    /// <param name="build">Builds a machine with a backend.</param>
    /// <param name="translateAfter">Runs of a block in the interpreter before it is translated.</param>
    public EnginePair(Func<IHypervisor, VirtualMachine> build, int translateAfter)
    {
        _machines = [build(new SoftwareHypervisor { Engine = CpuEngine.Interpret }), build(new SoftwareHypervisor { Engine = CpuEngine.Translate, TranslateAfter = translateAfter })];
        _cpus = [.. _machines.Select(m => (Vcpu)m.Partition.Vcpus[0])];
    }

    /// <summary>Steps taken; each ended in a comparison of the processors.</summary>
    public long Steps { get; private set; }

    /// <summary>Steps after which flags differed that the architecture leaves undefined.</summary>
    public long FlagsSettled { get; private set; }

    /// <summary>Comparisons of memory and devices.</summary>
    public int Checkpoints { get; private set; }

    /// <summary>Instructions that each processor has retired.</summary>
    public ulong Instructions => _cpus[0].InstructionsRetired;

    /// <summary>Blocks that were translated.</summary>
    public long Translated => _cpus[1].Translator!.Translated;

    /// <summary>Runs both machines to their end.</summary>
    /// <param name="slice">Instructions of a step; zero compares at the end of every block.</param>
    /// <param name="checkpoint">Instructions between two comparisons of everything.</param>
    public void RunToEnd(ulong slice, ulong checkpoint)
    {
        var next = checkpoint;
        while (true)
        {
            var rip = _cpus[0].S.Rip;
            var goesOn = Step(0, slice);
            if (Step(1, slice) != goesOn) Assert.Fail($"only one machine has ended, after 0x{rip:x}\n{Difference()}");
            Steps++;
            SettleUndefinedFlags(slice == 0 ? 0 : UndefinedFlags.All);
            if (!AreAlike(ref _cpus[0].S, ref _cpus[1].S) || _cpus[0].InstructionsRetired != _cpus[1].InstructionsRetired) Assert.Fail($"step {Steps} from 0x{rip:x} ended differently\n{Difference()}");
            if (goesOn && Instructions < next) continue;
            CompareAll();
            next = Instructions + checkpoint;
            if (!goesOn) return;
        }
    }

    public void Dispose()
    {
        foreach (var machine in _machines) machine.Dispose();
    }

    // False: the machine has ended.
    private bool Step(int which, ulong slice)
    {
        var (machine, cpu) = (_machines[which], _cpus[which]);
        cpu.StopAfter(slice);
        while (true)
        {
            var stop = cpu.Run();
            switch (stop.Kind)
            {
                case VcpuStopKind.Debug:
                    return true;
                case VcpuStopKind.Kicked when machine.State == MachineState.Ended:
                    return false;
                case VcpuStopKind.Kicked:
                    break;
                case VcpuStopKind.Halted when machine.Clock.NextDeadline != long.MaxValue:
                    machine.Clock.Advance(machine.Clock.NextDeadline);
                    break;
                default:
                    Assert.Fail($"{(which == 0 ? "interpreter" : "translator")}: {stop} at 0x{cpu.S.Rip:x}");
                    break;
            }
        }
    }

    // Flags that the last block left undefined may differ (and of a longer step, flags that it left alone); from here on the interpreter
    // has what the host's processor has made.
    private void SettleUndefinedFlags(ulong before)
    {
        ref var a = ref _cpus[0].S;
        ref var b = ref _cpus[1].S;
        var differing = a.Rflags ^ b.Rflags;
        if (differing == 0 || (differing & ~BlockFlags.UndefinedAtEnd(_cpus[0], before)) != 0) return;
        a.SetArithmetic(b.Rflags);
        FlagsSettled++;
    }

    private static bool AreAlike(ref CpuState a, ref CpuState b) =>
        General(ref a).SequenceEqual(General(ref b)) && a.Rip == b.Rip && a.Rflags == b.Rflags && System(ref a).SequenceEqual(System(ref b));

    private static ReadOnlySpan<ulong> General(ref CpuState s) => MemoryMarshal.CreateReadOnlySpan(ref s.Gpr[0], 16);

    // Everything from the mode to the x87 registers: all that is no cache of the engine's own.
    private static ReadOnlySpan<byte> System(ref CpuState s)
    {
        var all = MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(ref s, 1));
        return all[Offset(ref s, ref s.Mode)..Offset(ref s, ref s.Translator)];
    }

    private static int Offset<T>(ref CpuState s, ref T field) => (int)Unsafe.ByteOffset(ref Unsafe.As<CpuState, byte>(ref s), ref Unsafe.As<T, byte>(ref field));

    private void CompareAll()
    {
        Checkpoints++;
        Assert.Equal(_machines[0].Clock.Now, _machines[1].Clock.Now);
        var regions = _machines.Select(m => m.Memory.Regions).ToArray();
        for (var i = 0; i < regions[0].Length; i++) CompareRegions(regions[0][i], regions[1][i]);
        foreach (var (first, second) in _machines[0].SaveUnits().Zip(_machines[1].SaveUnits()))
        {
            Assert.True(first.Body.AsSpan().SequenceEqual(second.Body), $"{first.Name} differs after {Instructions} instructions");
        }
    }

    private void CompareRegions(MemoryRegion first, MemoryRegion second)
    {
        const int piece = 1 << 20;
        for (ulong at = 0; at < first.Length; at += piece)
        {
            var length = (int)Math.Min(piece, first.Length - at);
            var a = Bytes(first, at, length);
            var b = Bytes(second, at, length);
            if (a.SequenceEqual(b)) continue;
            var differs = a.CommonPrefixLength(b);
            Assert.Fail($"memory differs at 0x{first.Start + at + (ulong)differs:x} after {Instructions} instructions: {a[differs]:x2}, translated {b[differs]:x2}\n{Difference()}");
        }
    }

    private static unsafe ReadOnlySpan<byte> Bytes(MemoryRegion region, ulong at, int length) => new((byte*)region.HostAddress + at, length);

    private string Difference()
    {
        var text = new StringBuilder();
        ref var a = ref _cpus[0].S;
        ref var b = ref _cpus[1].S;
        void Tell(string name, ulong x, ulong y)
        {
            if (x != y) text.Append(CultureInfo.InvariantCulture, $"  {name}: {x:x}, translated {y:x}\n");
        }

        Tell("instructions", _cpus[0].InstructionsRetired, _cpus[1].InstructionsRetired);
        for (var i = 0; i < 16; i++) Tell($"r{i}", a.Gpr[i], b.Gpr[i]);
        Tell("rip", a.Rip, b.Rip);
        Tell("rflags", a.Rflags, b.Rflags);
        Tell("cr2", a.Cr2, b.Cr2);
        Tell("mxcsr", a.Mxcsr, b.Mxcsr);
        var x = System(ref a);
        var y = System(ref b);
        for (var i = 0; i < x.Length; i++)
        {
            if (x[i] != y[i]) text.Append(CultureInfo.InvariantCulture, $"  state byte {i + Offset(ref a, ref a.Mode)}: {x[i]:x2}, translated {y[i]:x2}\n");
        }

        text.Append(CultureInfo.InvariantCulture, $"  now at 0x{a.Rip:x}\n");
        return text.ToString();
    }
}
