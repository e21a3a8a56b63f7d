using System.Text;
using Vmm.Core.Errors;
using Vmm.Core.X86;

namespace Vmm.Core.Boot;

/// <summary>
/// What a loader would write and start, worked out without side effects: checking an image and loading it are the same code.
/// </summary>
internal sealed class BootPlan
{
    /// <summary>A hostile image could have a problem for each of its 65 535 segments.</summary>
    public const int MaxProblems = 16;

    /// <summary>The longest command line or module string that any loader takes, in bytes.</summary>
    public const int MaxCommandLine = 64 << 10;

    /// <summary>Where low memory ends on a PC: video memory follows.</summary>
    public const ulong LowMemoryEnd = 0xA0000;

    /// <summary>The first page holds the real-mode interrupt table and the BIOS data area.</summary>
    public const ulong LowMemoryStart = 0x1000;

    public const ulong FourGiB = 1UL << 32;

    private readonly List<(ulong Gpa, ReadOnlyMemory<byte> Bytes)> _writes = [];
    private readonly List<(ulong Gpa, ulong Length)> _zeros = [];
    private readonly List<BootImageException> _problems = [];

    private BootPlan(BootContext context)
    {
        Context = context;
        Memory = new BootMemory(context);
    }

    public BootContext Context { get; }

    public BootMemory Memory { get; }

    /// <summary>Sets the processor; null until the plan is whole.</summary>
    public Action<VcpuState>? Start { get; set; }

    /// <summary>All that is wrong, as sentences.</summary>
    public IEnumerable<string> Problems => _problems.Select(p => p.Message);

    public bool HasProblems => _problems.Count > 0;

    /// <summary>Makes a plan; what it throws of a malformed image becomes a problem.</summary>
    public static BootPlan Make(BootContext context, Action<BootPlan> work, bool fromTop = false)
    {
        var plan = new BootPlan(context) { FromTop = fromTop };
        try
        {
            work(plan);
        }
        catch (BootImageException e)
        {
            plan._problems.Add(e);
        }

        return plan;
    }

    public void Problem(string image, string place, string reason)
    {
        if (_problems.Count < MaxProblems) _problems.Add(new BootImageException(image, place, reason));
    }

    /// <summary>Notes a write into a range that was reserved or allocated.</summary>
    public void Write(ulong gpa, ReadOnlyMemory<byte> bytes)
    {
        if (!bytes.IsEmpty) _writes.Add((gpa, bytes));
    }

    /// <summary>Notes that a reserved range is to be zero; done before any write.</summary>
    public void Zero(ulong gpa, ulong length)
    {
        if (length > 0) _zeros.Add((gpa, length));
    }

    /// <summary>
    /// Whether <see cref="AllocateLow"/> fills low memory from its top. From the bottom is right for Linux, whose
    /// decompressor overwrites, for a while, the two pages below the BIOS area whatever a loader has put there.
    /// </summary>
    public bool FromTop { get; init; }

    /// <summary>Finds room for bytes in low memory, else at the top of what is below 4 GiB, and notes the write.</summary>
    /// <returns>The guest-physical address; zero, with a problem noted, if there is no room.</returns>
    public ulong PlaceLow(string image, string what, ReadOnlyMemory<byte> bytes, ulong alignment)
    {
        var gpa = AllocateLow(image, what, (uint)bytes.Length, alignment);
        if (gpa != 0) Write(gpa, bytes);
        return gpa;
    }

    /// <summary>Finds room as <see cref="PlaceLow"/> does, without writing yet.</summary>
    public ulong AllocateLow(string image, string what, ulong length, ulong alignment)
    {
        if (Memory.TryAllocate(length, alignment, LowMemoryStart, LowMemoryEnd, FromTop, what, out var gpa)
            || Memory.TryAllocate(length, alignment, LinuxSpec.HighMemory, FourGiB, highest: true, what, out gpa)) return gpa;
        Problem(image, what, $"no room for {length} bytes below 4 GiB ({Memory.Describe()}); give the machine more memory.");
        return 0;
    }

    /// <summary>Checks a command line and joins what the machine adds in front of it.</summary>
    /// <returns>The bytes with their terminating NUL.</returns>
    public byte[] CommandLine(string image, string text, uint limit, string limitName, bool withExtra = true)
    {
        var extra = withExtra ? Context.ExtraCommandLine : "";
        var line = extra.Length == 0 ? text : text.Length == 0 ? extra : $"{extra} {text}";
        if (line.AsSpan().IndexOfAny('\0', '\n', '\r') is var bad and >= 0)
        {
            Problem(image, $"command line, character {bad}", $"it holds {(line[bad] == '\0' ? "a NUL" : "a line break")}, where the guest would cut it; put a space there.");
            return [0];
        }

        var bytes = Encoding.UTF8.GetByteCount(line);
        if ((uint)bytes > limit)
        {
            Problem(image, "command line", $"it has {bytes} bytes{(extra.Length == 0 ? "" : $" ({extra.Length + 1} of them added by the machine for its devices)")}, more than the {limit} of {limitName}; shorten it.");
            return [0];
        }

        var result = new byte[bytes + 1];
        Encoding.UTF8.GetBytes(line, result);
        return result;
    }

    /// <summary>Writes everything and sets the processor.</summary>
    /// <exception cref="BootImageException">The plan has problems; nothing was written.</exception>
    public void Commit(VcpuState state)
    {
        if (HasProblems) throw _problems[0];
        foreach (var (gpa, length) in _zeros)
        {
            if (!Context.Memory.TryFill(gpa, length, 0)) throw Lost(gpa, length);
        }

        foreach (var (gpa, bytes) in _writes)
        {
            if (!Context.Memory.TryWrite(gpa, bytes.Span)) throw Lost(gpa, (uint)bytes.Length);
        }

        Start!(state);
    }

    // Only a region taken away between the plan and its commit gets here.
    private static BootImageException Lost(ulong gpa, ulong length) =>
        new("guest memory", BootMemory.Hex(gpa), $"{length} bytes that were RAM are RAM no more; do not remove regions while a machine is loaded.");
}
