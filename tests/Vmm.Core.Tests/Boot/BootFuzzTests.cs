using Vmm.Core.Boot;
using Vmm.Core.Errors;
using Vmm.Core.Memory;
using Vmm.Core.X86;
using Xunit;

namespace Vmm.Core.Tests.Boot;

/// <summary>Damaged images: each ends in a typed error with nothing written, or in a load whose writes are all in the map's RAM.</summary>
public sealed class BootFuzzTests
{
    private const int Mutations = 10_000;

    /// <summary>A real kernel, if this host has one unpacked; VMM_TEST_KERNEL names one.</summary>
    public static string? RealKernel { get; } = FindKernel();

    public static bool HasRealKernel => RealKernel is not null;

    /// <summary>A real ELF vmlinux with a PVH entry: VMM_TEST_VMLINUX names one.</summary>
    public static string? RealVmlinux { get; } = Environment.GetEnvironmentVariable("VMM_TEST_VMLINUX") is { Length: > 0 } named && File.Exists(named) ? named : null;

    public static bool HasRealVmlinux => RealVmlinux is not null;

    [Fact]
    public void BzImage_Damaged_LoadsOrIsRefused() => Fuzz(new BzImageFixture().Bytes, LinuxSpec.SetupSects, LinuxSpec.HeaderEndMax, b => new LinuxBoot(b) { Initrd = new byte[3000], CommandLine = "x" }, 1);

    [Fact]
    public void Elf64_Damaged_LoadsOrIsRefused() => Fuzz(ElfFixture.Kernel(pvhEntry: 0x1000000).Build(), 4, 64 + 3 * 56, b => new LinuxBoot(b), 2);

    [Fact]
    public void Pvh_Damaged_LoadsOrIsRefused()
    {
        var file = ElfFixture.Kernel(pvhEntry: 0x1000000).Build();
        Fuzz(file, 4, 64 + 3 * 56, b => new PvhBoot(b) { Modules = [new("m", new byte[10])] }, 3);
        var notes = file.AsSpan().IndexOf("GNU\0"u8) - 12;
        Fuzz(file, notes, file.Length, b => new PvhBoot(b), 4);
    }

    [Fact]
    public void MultibootElf_Damaged_LoadsOrIsRefused() => Fuzz(MultibootFixture.Elf(), 4, 52 + 32 + 32, b => new MultibootBoot(b) { Modules = [new("m", new byte[10])] }, 5);

    [Fact]
    public void MultibootRaw_Damaged_LoadsOrIsRefused() =>
        Fuzz(MultibootFixture.Raw(), MultibootFixture.RawHeader + 12, MultibootFixture.RawHeader + 32, b => new MultibootBoot(b), 6);

    [Fact]
    public void AnyBytes_GivenAsAKernel_AreRefusedOrLoad()
    {
        var random = new Random(7);
        using var m = new FuzzMachine();
        for (var i = 0; i < 3000; i++)
        {
            var bytes = new byte[random.Next(0, 2000)];
            random.NextBytes(bytes);
            if (i % 3 == 0 && bytes.Length > 4) "\u007fELF"u8.CopyTo(bytes);
            m.Try(new VirtualMachineBuilder().WithKernel(bytes, preferPvh: i % 2 == 0).Loader!);
            foreach (var loader in new IBootLoader[] { new LinuxBoot(bytes), new PvhBoot(bytes), new MultibootBoot(bytes) }) m.Try(loader);
        }
    }

    [Fact(Skip = "No kernel here: set VMM_TEST_KERNEL to a bzImage.", SkipUnless = nameof(HasRealKernel))]
    public void RealKernel_Damaged_LoadsOrIsRefused()
    {
        // Only the header is damaged, so the code behind it may be cut for speed.
        var file = File.ReadAllBytes(RealKernel!);
        Fuzz(file, LinuxSpec.SetupSects, LinuxSpec.HeaderEndMax, b => new LinuxBoot(b), 8, 100);
        var setup = (file[LinuxSpec.SetupSects] + 1) * 512;
        var small = file[..(setup + 0x2000)];
        BitConverter.GetBytes(0x200).CopyTo(small, LinuxSpec.SysSize);
        Fuzz(small, LinuxSpec.SetupSects, LinuxSpec.HeaderEndMax, b => new LinuxBoot(b) { Initrd = new byte[3000] }, 9);
    }

    [Fact(Skip = "No kernel here: set VMM_TEST_KERNEL to a bzImage.", SkipUnless = nameof(HasRealKernel))]
    public void RealKernel_Loads()
    {
        var file = File.ReadAllBytes(RealKernel!);
        using var m = new BootMachine();

        var s = m.Load(new LinuxBoot(file) { CommandLine = "console=ttyS0", Initrd = new byte[1 << 20] });

        var code = (file[LinuxSpec.SetupSects] + 1) * 512;
        Assert.Equal(0x1000200UL, s.Rip);
        Assert.Equal(file.AsSpan(code + 0x200, 64).ToArray(), m.Bytes(s.Rip, 64));
        Assert.Equal("console=ttyS0", m.Text(m.U32(s.Gpr[6] + LinuxSpec.CmdLinePtr)));
    }

    [Fact(Skip = "Set VMM_TEST_VMLINUX to a Linux vmlinux with CONFIG_PVH.", SkipUnless = nameof(HasRealVmlinux))]
    public void RealVmlinux_LoadsByBothProtocols()
    {
        var file = File.ReadAllBytes(RealVmlinux!);
        using var m = new BootMachine();
        using var pvh = new BootMachine();

        var entry = m.Load(new LinuxBoot(file)).Rip;
        var pvhEntry = pvh.Load(new PvhBoot(file)).Rip;

        Assert.Equal(0x1000000UL, entry);
        Assert.NotEqual(entry, pvhEntry);
        Assert.Equal(m.Bytes(0x1000000, 0x100000), pvh.Bytes(0x1000000, 0x100000));
    }

    private static void Fuzz(byte[] good, int from, int to, Func<byte[], IBootLoader> make, int seed, int count = Mutations)
    {
        using var m = new FuzzMachine();
        m.Try(make(good));
        Assert.Equal(1, m.Loaded);
        var random = new Random(seed);
        ulong[] special = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000, 0xFFFFF000, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, ulong.MaxValue, 1UL << 52];
        for (var i = 0; i < count; i++)
        {
            var bytes = (byte[])good.Clone();
            for (var n = random.Next(1, 4); n > 0; n--)
            {
                var at = random.Next(from, to);
                switch (random.Next(4))
                {
                    case 0: bytes[at] = (byte)random.Next(256); break;
                    case 1: bytes[at] ^= (byte)(1 << random.Next(8)); break;
                    case 2:
                        var size = Math.Min(1 << random.Next(4), to - at);
                        BitConverter.GetBytes(special[random.Next(special.Length)] + (ulong)random.Next(-1, 2)).AsSpan(0, size).CopyTo(bytes.AsSpan(at));
                        break;
                    default:
                        if (random.Next(20) == 0) bytes = bytes[..random.Next(Math.Max(to, bytes.Length / 2), bytes.Length)];
                        else bytes[at] += (byte)random.Next(256);
                        break;
                }

                to = Math.Min(to, bytes.Length);
            }

            m.Try(make(bytes));
        }

        Assert.True(m.Loaded > 1 && m.Refused > 0, $"{m.Loaded} loaded, {m.Refused} refused: the damage tells nothing");
    }

    private static string? FindKernel()
    {
        if (Environment.GetEnvironmentVariable("VMM_TEST_KERNEL") is { Length: > 0 } named && File.Exists(named)) return named;
        var cache = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache", "vmm");
        foreach (var folder in new[] { cache, "/boot" })
        {
            var options = new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true, MaxRecursionDepth = 4 };
            if (Directory.Exists(folder) && Directory.EnumerateFiles(folder, "*vmlinuz*", options).Order().FirstOrDefault(IsBzImage) is { } found) return found;
        }

        return null;
    }

    // Notes and partial downloads may lie beside a kernel under like names.
    private static bool IsBzImage(string path)
    {
        Span<byte> start = stackalloc byte[1024];
        try
        {
            using var file = File.OpenRead(path);
            return file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) == start.Length && BzImage.IsMatch(start);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>RAM with guards: what the map does not call RAM, though memory is there, must keep its pattern.</summary>
    private sealed class FuzzMachine : IDisposable
    {
        // Enough for a distribution's kernel, whose init_size is some 50 MiB.
        private const ulong Size = 128 << 20, HoleStart = 0x9F000, HoleEnd = 0x100000, AcpiStart = Size - 0x10000;
        private readonly MemoryRegion _ram = MemoryRegion.Allocate("ram", 0, Size);
        private readonly MemoryRegion _rom = MemoryRegion.Allocate("rom", Size, 0x10000, MemoryRegionKind.Rom);
        private readonly BootContext _context;
        private readonly byte[] _guard = new byte[0x1000];

        public FuzzMachine()
        {
            var memory = new GuestMemory();
            memory.Add(_ram);
            memory.Add(_rom);
            _context = new BootContext(memory, [new(0, HoleStart, MemoryMapType.Ram), new(HoleEnd, AcpiStart - HoleEnd, MemoryMapType.Ram), new(AcpiStart, 0x10000, MemoryMapType.Acpi), new(Size, 0x10000, MemoryMapType.Ram)], 0, 1, "");
            _guard.AsSpan().Fill(0xA5);
            memory.TryFill(HoleStart, HoleEnd - HoleStart, 0xA5);
            memory.TryFill(AcpiStart, 0x10000, 0xA5);
        }

        public int Loaded { get; private set; }

        public int Refused { get; private set; }

        public void Try(IBootLoader loader)
        {
            var problems = loader.Validate(_context).ToArray();
            var state = new VcpuState();
            try
            {
                loader.Load(_context, state);
                Assert.Empty(problems);
                Loaded++;
                Assert.True(_context.Memory.IsRam(state.Rip, 1), "the entry is outside RAM");
            }
            catch (BootImageException e)
            {
                Assert.Equal(problems[0], e.Message);
                Refused++;
            }

            Span<byte> page = stackalloc byte[0x1000];
            foreach (var at in (ReadOnlySpan<ulong>)[HoleStart, HoleEnd - 0x1000, AcpiStart, AcpiStart + 0xF000])
            {
                _ram.Read(at, page);
                Assert.True(page.SequenceEqual(_guard), $"a write reached 0x{at:x}");
            }
        }

        public void Dispose()
        {
            _ram.Dispose();
            _rom.Dispose();
        }
    }
}
