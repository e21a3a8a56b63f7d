using System.Collections.Immutable;
using Vmm.Core.Boot;
using Vmm.Core.Errors;
using Vmm.Core.Memory;
using Vmm.Core.X86;
using Xunit;

namespace Vmm.Core.Tests.Boot;

/// <summary>Memory and a memory map for loaders, without a machine around them: RAM from 0 and, by default, a PC's hole below 1 MiB.</summary>
internal sealed class BootMachine : IDisposable
{
    private readonly List<MemoryRegion> _regions = [];

    public BootMachine(ulong ram = 256 << 20, ImmutableArray<MemoryMapEntry>? map = null, ulong rsdp = 0, string extra = "")
    {
        Add(MemoryRegion.Allocate("ram", 0, ram));
        Context = new BootContext(Memory, map ?? DefaultMap(ram), rsdp, 1, extra);
    }

    public GuestMemory Memory { get; } = new();

    public BootContext Context { get; set; }

    public VcpuState State { get; } = new();

    public static ImmutableArray<MemoryMapEntry> DefaultMap(ulong ram) => ram <= 1 << 20
        ? [new(0, Math.Min(ram, 0x9FC00), MemoryMapType.Ram)]
        : [new(0, 0x9FC00, MemoryMapType.Ram), new(0x9FC00, 0x60400, MemoryMapType.Reserved), new(1 << 20, ram - (1 << 20), MemoryMapType.Ram)];

    public void Add(MemoryRegion region)
    {
        _regions.Add(region);
        Memory.Add(region);
    }

    /// <summary>Loads, having seen that validation agrees.</summary>
    public VcpuState Load(IBootLoader loader)
    {
        Assert.Empty(loader.Validate(Context));
        loader.Load(Context, State);
        return State;
    }

    /// <summary>Sees that a load is refused, by validation and by loading alike, with words that tell the fault, and nothing written.</summary>
    public void Refuses(IBootLoader loader, params string[] words)
    {
        var problems = loader.Validate(Context).ToArray();
        Assert.NotEmpty(problems);
        var e = Assert.Throws<BootImageException>(() => loader.Load(Context, new VcpuState()));
        Assert.Equal(problems[0], e.Message);
        var all = string.Join('\n', problems);
        foreach (var word in words) Assert.Contains(word, all, StringComparison.Ordinal);
        Assert.Equal(-1, Bytes(0, 1 << 16).AsSpan().IndexOfAnyExcept((byte)0));
    }

    public byte[] Bytes(ulong gpa, int count)
    {
        var bytes = new byte[count];
        Assert.True(Memory.TryRead(gpa, bytes));
        return bytes;
    }

    public byte U8(ulong gpa) => Read<byte>(gpa);

    public ushort U16(ulong gpa) => Read<ushort>(gpa);

    public uint U32(ulong gpa) => Read<uint>(gpa);

    public ulong U64(ulong gpa) => Read<ulong>(gpa);

    public string Text(ulong gpa)
    {
        List<byte> bytes = [];
        for (; U8(gpa) is var b and not 0; gpa++) bytes.Add(b);
        return System.Text.Encoding.UTF8.GetString([.. bytes]);
    }

    public void Dispose() => _regions.ForEach(r => r.Dispose());

    private T Read<T>(ulong gpa) where T : unmanaged
    {
        Assert.True(Memory.TryRead(gpa, out T value));
        return value;
    }
}
