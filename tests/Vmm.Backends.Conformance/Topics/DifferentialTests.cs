using FsCheck;
using FsCheck.Fluent;
using Vmm.Backends.Conformance.Differential;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using Vmm.Core.X86;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>
/// Two backends run the same random programs from the same state and must agree on registers, flags, memory, what devices saw, and how the program
/// ended. VMM_DIFFERENTIAL is the number of programs.
/// </summary>
/// <typeparam name="TBackend">One backend.</typeparam>
/// <typeparam name="TOther">The other.</typeparam>
public abstract class DifferentialTests<TBackend, TOther> : Conformance<TBackend> where TBackend : BackendUnderTest, new() where TOther : BackendUnderTest, new()
{
    private static readonly int s_programs = int.TryParse(Environment.GetEnvironmentVariable("VMM_DIFFERENTIAL"), out var n) ? n : 150;

    private readonly TOther _other = new();

    [Fact]
    public void UserPrograms_Agree() => Compare(isKernel: false);

    [Fact]
    public void KernelPrograms_Agree() => Compare(isKernel: true);

    private void Compare(bool isKernel)
    {
        _other.RequireUsable();
        var isFullSystem = Backend.Lacks(HypervisorCapabilities.FullSystem) is null && _other.Lacks(HypervisorCapabilities.FullSystem) is null;
        Pair[] pair = [new(this, Backend, isKernel), new(this, _other, isKernel)];
        var gene = from kind in Gen.Choose(0, 25) from a in Gen.Choose(0, 1000) from b in Gen.Choose(0, 1000) from value in Gen.Choose(0, int.MaxValue) select new Gene(kind, a, b, value);
        var programs = from count in Gen.Choose(1, 40) from genes in gene.ArrayOf(count) from seed in Gen.Choose(0, int.MaxValue) select (genes, seed);
        var property = Prop.ForAll(Arb.From(programs, Shrink), program =>
        {
            var code = ProgramWriter.Write(program.genes, isKernel, isFullSystem, out var atEnd, out var undefined);
            foreach (var side in pair) side.Run(code, program.seed, atEnd, undefined);
            var differences = pair[0].Differences(pair[1]);
            Assert.True(differences is [], $"seed {program.seed}, undefined flags 0x{undefined:x}, code {Convert.ToHexString(code)}: {string.Join("; ", differences)}");
        });
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(s_programs), property);
    }

    // Fewer genes: halves, then one left out.
    private static IEnumerable<(Gene[], int)> Shrink((Gene[] Genes, int Seed) program)
    {
        var (genes, seed) = program;
        if (genes.Length > 3)
        {
            yield return (genes[..(genes.Length / 2)], seed);
            yield return (genes[(genes.Length / 2)..], seed);
        }

        for (var i = 0; i < genes.Length && genes.Length > 1; i++) yield return ([.. genes[..i], .. genes[(i + 1)..]], seed);
    }

    // One backend's side: a guest that is used for one program after the other.
    private sealed class Pair
    {
        private readonly TestGuest _guest;
        private readonly bool _isKernel;
        private readonly Recorder _ports, _device;
        private GuestEnd _end;
        private ulong _defined;
        private (BusAccess[] Ports, BusAccess[] Device) _seen;

        public Pair(DifferentialTests<TBackend, TOther> test, BackendUnderTest backend, bool isKernel)
        {
            _isKernel = isKernel;
            _guest = test.Dispose(new TestGuest(backend, 64, (_, _) => { }, user: !isKernel, vcpus: 1));
            (_ports, _device) = (_guest.Ports(ProgramWriter.Port, 8), _guest.Mmio(ProgramWriter.Device, 0x1000));
        }

        public void Run(byte[] code, int seed, ulong undefinedAtEnd, ulong undefined)
        {
            var random = new Random(seed);
            var data = new byte[0x10000];
            random.NextBytes(data);
            _guest.Write(GuestTables.Data, data);
            _guest.Write(GuestTables.Program, code);
            foreach (var stack in new[] { GuestTables.Stack, GuestTables.UserStack, GuestTables.InnerStack }) _guest.Write(stack - 0x800, new byte[0x800]);
            var state = _guest.State;
            state.SetPowerOn();
            GuestTables.Write(_guest.Memory, state, 64, user: !_isKernel);
            _guest.SetPage(GuestTables.Free, 0);
            for (var i = 0; i < 16; i++)
            {
                if (i != 4) state.Gpr[i] = (ulong)random.NextInt64(long.MinValue, long.MaxValue) >> random.Next(64);
            }

            state.Gpr[6] = GuestTables.Data;
            state.Rflags |= (uint)random.Next() & 0x8D5u;
            random.NextBytes(state.Xsave.AsSpan(160, 256));
            var (ports, device) = (_ports.Accesses.Length, _device.Accesses.Length);
            try
            {
                _end = _guest.Run();
            }
            catch (TimeoutException e)
            {
                throw new TimeoutException($"seed {seed}, code {Convert.ToHexString(code)}: {e.Message}");
            }

            _defined = ~(_end.Kind == EndKind.Exit ? undefinedAtEnd : undefined);
            _seen = (_ports.Accesses[ports..], _device.Accesses[device..]);
        }

        public List<string> Differences(Pair other)
        {
            if (_end != other._end) return [$"ended by {_end} and {other._end}"];
            List<string> found = [];
            void Same(string name, ulong one, ulong two)
            {
                if (one != two) found.Add($"{name}: 0x{one:x} and 0x{two:x}");
            }

            var (mine, its) = (_guest.State, other._guest.State);
            for (var i = 0; i < 16; i++) Same(((Iced.Intel.Register)((int)Iced.Intel.Register.RAX + i)).ToString(), mine.Gpr[i], its.Gpr[i]);
            // RF of a processor that stands in a handler is of no account; nor are undefined flags.
            var flags = _defined & ~0x10000UL;
            Same("RFLAGS", mine.Rflags & flags, its.Rflags & flags);
            Same("CR2", mine.Cr2, its.Cr2);
            Same("CS", mine.Segments[1].Selector, its.Segments[1].Selector);
            Same("SS", mine.Segments[2].Selector, its.Segments[2].Selector);
            for (var i = 160; i < 416; i += 8) Same($"XMM{(i - 160) / 16}", BitConverter.ToUInt64(mine.Xsave, i), BitConverter.ToUInt64(its.Xsave, i));
            Same("MXCSR", BitConverter.ToUInt32(mine.Xsave, 24), BitConverter.ToUInt32(its.Xsave, 24));
            Same("KERNEL_GS_BASE", Msr(mine), Msr(its));
            var (first, second) = (Memory(), other.Memory());
            if (first.AsSpan().CommonPrefixLength(second) is var at && at < first.Length) found.Add($"memory at {at:x}: {first[at]:x2} and {second[at]:x2}");
            if (!_seen.Ports.SequenceEqual(other._seen.Ports)) found.Add($"ports: {string.Join(' ', _seen.Ports)} and {string.Join(' ', other._seen.Ports)}");
            if (!_seen.Device.SequenceEqual(other._seen.Device)) found.Add($"device: {string.Join(' ', _seen.Device)} and {string.Join(' ', other._seen.Device)}");
            return found;
        }

        private static ulong Msr(VcpuState state) => Array.Find(state.Msrs, m => m.Index == 0xC0000102).Value;

        // Data and stacks; the flags that an exception has pushed without those that are undefined, and without RF.
        private byte[] Memory()
        {
            if (_end.Kind == EndKind.Trap)
            {
                var at = _guest.State.Gpr[4] + 8 + (_end.Value is 8 or 10 or 11 or 12 or 13 or 14 or 17 ? 24UL : 16);
                _guest.Write(at, _guest.Read<ulong>(at) & _defined & ~0x10000UL);
            }

            return [.. _guest.Read(GuestTables.Data, 0x10000), .. _guest.Read(GuestTables.Stack - 0x800, 0x800), .. _guest.Read(GuestTables.UserStack - 0x800, 0x800), .. _guest.Read(GuestTables.InnerStack - 0x800, 0x800)];
        }
    }
}
