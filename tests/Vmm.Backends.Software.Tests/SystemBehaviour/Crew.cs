using System.Diagnostics;
using Iced.Intel;
using Vmm.Backends.Software.Translate;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// A guest whose processors run at once, each on a thread of its own, with a stack and data of its own. Whoever ends in an exception's handler, or
/// not at all, ends all others, and the test.
/// </summary>
internal sealed class Crew : SystemGuest, IDisposable
{
    /// <summary>Instead of a number of runs: no translator.</summary>
    public const int Interpreted = -1;

    /// <summary>Bytes of each member's own memory, with its stack at the end.</summary>
    public const ulong OwnSize = 0x20000;

    /// <summary>A port: the processor lets other threads run.</summary>
    public const byte Yield = 0x80;

    private const ulong OwnMemory = 0x200000, Arrived = 0x7E000, Parties = Arrived + 8;

    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(1);

    private readonly Thread?[] _threads;
    private volatile string? _problem;
    private volatile bool _stopped;

    /// <param name="translateAfter">Runs of a block before it is translated, or <see cref="Interpreted"/>.</param>
    /// <param name="vcpus">Processors.</param>
    /// <param name="body">The program that all start with.</param>
    /// <param name="codePart">Bytes of either part of a region of translated code.</param>
    public Crew(int translateAfter, int vcpus, Action<Assembler> body, int codePart = CodeMemory.DefaultPart)
        : base(translateAfter == Interpreted ? CpuEngine.Interpret : CpuEngine.Translate, Math.Max(translateAfter, 0), codePart, 64, (a, _) => body(a), vcpus, false, 0)
    {
        Bus.Ports.Map(Yield, 1, new Yielding());
        Write(Parties, (ulong)vcpus);
        Write(Tables + 256 * 8, Tables + 0x1000 | 7);
        State.Cr4 |= 0x600;
        // With exceptions masked, or the interpreter would do all of it.
        BitConverter.TryWriteBytes(State.Xsave, (ushort)0x37F);
        BitConverter.TryWriteBytes(State.Xsave.AsSpan(24), 0x1F80);
        Cpu.SetState(State);
        _threads = new Thread?[vcpus];
        Members = new VcpuState[vcpus];
        for (var i = 0; i < vcpus; i++)
        {
            Cpu.GetState(Members[i] = new VcpuState());
            (Members[i].Gpr[3], Members[i].Gpr[4], Members[i].Gpr[15]) = (OwnOf(i), OwnOf(i) + OwnSize, (ulong)i);
        }
    }

    /// <summary>States to start from, and in the end those that were reached. RBX is the member's own memory, R15 its number.</summary>
    public VcpuState[] Members { get; }

    /// <summary>Blocks translated by all.</summary>
    public long TranslatedBlocks => Partition.Vcpus.Sum(v => v.Counters.TranslatedBlocks);

    /// <summary>The address of a member's own memory.</summary>
    public static ulong OwnOf(int member) => OwnMemory + (ulong)member * OwnSize;

    /// <summary>Waits until all have come here, for the first time or again; R9 counts that. Changes RAX.</summary>
    public static void Meet(Assembler a)
    {
        Label wait = a.CreateLabel(), met = a.CreateLabel();
        a.add(r9d, __dword_ptr[Parties]);
        a.@lock.inc(__dword_ptr[Arrived]);
        a.Label(ref wait);
        a.cmp(__dword_ptr[Arrived], r9d);
        a.jae(met);
        a.@out(Yield, al);
        a.jmp(wait);
        a.Label(ref met);
        a.nop();
    }

    /// <summary>Nobody waits for others when he meets them.</summary>
    public void DoNotMeet() => Write(Parties, 1UL);

    /// <summary>Gives members, but the first, page tables of their own, which are alike at first.</summary>
    public void Separate()
    {
        for (var i = 1; i < Members.Length; i++)
        {
            var tables = TablesOf(i);
            for (ulong at = 0; at < 0x4000; at += 8) Write(tables + at, Read<ulong>(Tables + at));
            foreach (var at in (ReadOnlySpan<ulong>)[0, 256 * 8, 0x1000, 0x2000]) Write(tables + at, Read<ulong>(tables + at) + tables - Tables);
            Members[i].Cr3 = tables;
        }
    }

    /// <summary>A member's entry of one of the first 512 pages, after <see cref="Separate"/>.</summary>
    public static ulong EntryOf(int member, ulong address) => TablesOf(member) + 0x3000 + address / 4096 * 8;

    /// <summary>Runs all to their ends.</summary>
    public new Crew Run()
    {
        for (var i = 0; i < Members.Length; i++) Launch(i);
        return Join();
    }

    /// <summary>Starts a member from its state, or from where its processor is.</summary>
    public void Launch(int member, bool load = true)
    {
        if (load) Partition.Vcpus[member].SetState(Members[member]);
        _threads[member] = new Thread(() => Work(member));
        _threads[member]!.Start();
    }

    /// <summary>Whether a member was started and has not halted.</summary>
    public bool IsRunning(int member) => _threads[member]?.IsAlive == true;

    /// <summary>Waits until those that were started have halted.</summary>
    public Crew Join()
    {
        var watch = Stopwatch.StartNew();
        foreach (var thread in _threads)
        {
            var left = s_patience - watch.Elapsed;
            if (thread is null || thread.Join(left > TimeSpan.Zero ? left : TimeSpan.Zero)) continue;
            Stop("not all have halted");
            break;
        }

        if (_stopped) End();
        Assert.True(_problem is null, $"{_problem}; {string.Join(", ", Members.Select(m => $"0x{m.Rip:x}"))}");
        return this;
    }

    /// <summary>Waits for what a member does.</summary>
    public void WaitFor(Func<bool> condition) => Assert.True(SpinWait.SpinUntil(() => _stopped || condition(), s_patience) && !_stopped, _problem);

    /// <summary>Kicks all, for good, and waits until they have stopped.</summary>
    public void Dismiss()
    {
        _stopped = true;
        End();
        Assert.Null(_problem);
    }

    /// <summary>Runs one after another what members do by themselves, in a crew that is made alike but has no translator: all must be the same.</summary>
    /// <param name="oracle">The other one.</param>
    /// <param name="members">How many members do that, if others do something else.</param>
    public void AssertAlike(Crew oracle, int? members = null)
    {
        var count = members ?? Members.Length;
        oracle.DoNotMeet();
        DoNotMeet();
        for (var i = 0; i < count; i++)
        {
            oracle.Launch(i);
            oracle.Join();
        }

        for (var i = 0; i < count; i++)
        {
            var (expected, actual) = (oracle.Members[i], Members[i]);
            Assert.True(expected.Gpr.AsSpan().SequenceEqual(actual.Gpr), $"member {i}: {string.Join(' ', expected.Gpr.Select((v, r) => v == actual.Gpr[r] ? "" : $"{r}: {v:x} {actual.Gpr[r]:x}"))}");
            Assert.Equal((expected.Rip, expected.Rflags, expected.Cr2), (actual.Rip, actual.Rflags, actual.Cr2));
            Assert.True(expected.Xsave.AsSpan().SequenceEqual(actual.Xsave), $"member {i}: XSAVE images differ at {expected.Xsave.AsSpan().CommonPrefixLength(actual.Xsave)}");
        }

        if (members is null)
        {
            AssertMemoryAlike(oracle, 0, 4 << 20);
            return;
        }

        for (var i = 0; i < count; i++) AssertMemoryAlike(oracle, OwnOf(i), OwnSize);
    }

    private void AssertMemoryAlike(Crew oracle, ulong from, ulong length)
    {
        byte[] first = new byte[length], second = new byte[length];
        Assert.True(oracle.Bus.Memory.TryRead(from, first) && Bus.Memory.TryRead(from, second));
        Assert.True(first.AsSpan().SequenceEqual(second), $"memory differs at 0x{from + (ulong)first.AsSpan().CommonPrefixLength(second):x}");
    }

    /// <summary>Nothing is given back that a processor still uses.</summary>
    public new void Dispose()
    {
        _stopped = true;
        if (TryEnd()) base.Dispose();
    }

    private static ulong TablesOf(int member) => Tables + (ulong)member * 0x10000;

    private void Work(int member)
    {
        var cpu = Partition.Vcpus[member];
        try
        {
            while (true)
            {
                var kind = cpu.Run().Kind;
                if (kind == VcpuStopKind.Kicked && !_stopped) continue;
                cpu.GetState(Members[member]);
                if (_stopped) return;
                // It waits to be started by others, or was just now.
                if (kind == VcpuStopKind.Halted && Members[member].MpState != MpState.Halted)
                {
                    Thread.Yield();
                    continue;
                }

                if (kind != VcpuStopKind.Halted) Stop($"member {member}: {kind}");
                else if (Members[member].Rip - 1 - Handlers is < 0x1000 and var at) Stop($"member {member}: exception {at / 16}, CR2 0x{Members[member].Cr2:x}, from 0x{Read<ulong>(Members[member].Gpr[4]):x} or 0x{Read<ulong>(Members[member].Gpr[4] + 8):x}");
                return;
            }
        }
        catch (Exception e)
        {
            Stop($"member {member}: {e}");
        }
    }

    private void Stop(string problem)
    {
        _problem ??= problem;
        _stopped = true;
        foreach (var cpu in Partition.Vcpus) cpu.Kick();
    }

    private void End() => Assert.True(TryEnd(), $"processors that cannot be stopped; {_problem}");

    private bool TryEnd()
    {
        foreach (var cpu in Partition.Vcpus) cpu.Kick();
        var watch = Stopwatch.StartNew();
        return _threads.All(t => t is null || t.Join(s_patience - watch.Elapsed is { Ticks: > 0 } left ? left : TimeSpan.Zero));
    }

    private sealed class Yielding : IIoHandler
    {
        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value) => Thread.Yield();
    }
}
