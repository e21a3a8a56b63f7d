// ELF-64 object files: System V gABI 4.1, chapters 4 (sections) and 5 (program loading, dynamic linking).
using System.Buffers.Binary;
using System.Text;

namespace Vmm.Guests.Elf;

/// <summary>Finds sections and dynamic-link needs of x86-64 ELF files. Nothing in a file is believed; what does not fit is as if it were not there.</summary>
internal static class ElfReader
{
    private const int HeaderSize = 64, SectionSize = 64, SegmentSize = 56, DynamicSize = 16, MaximumEntries = 65536, MaximumText = 4096;
    private const ushort MachineX64 = 62;
    private const uint PT_LOAD = 1, PT_DYNAMIC = 2, PT_INTERP = 3;
    private const ulong DT_NULL = 0, DT_NEEDED = 1, DT_STRTAB = 5, DT_RPATH = 15, DT_RUNPATH = 29;

    /// <summary>A little-endian ELF-64 file for x86-64.</summary>
    public static bool IsElf(ReadOnlySpan<byte> file) =>
        file.Length >= HeaderSize && file.StartsWith("\x7f"u8) && file[1..].StartsWith("ELF"u8) && file[4] == 2 && file[5] == 1 && U16(file, 18) == MachineX64;

    /// <summary>The bytes of a section, or nothing.</summary>
    public static ReadOnlySpan<byte> Section(ReadOnlySpan<byte> file, ReadOnlySpan<byte> name)
    {
        if (!IsElf(file) || U16(file, 58) != SectionSize)
            return default;
        ReadOnlySpan<byte> table = Slice(file, U64(file, 40), (ulong)U16(file, 60) * SectionSize);
        int namesAt = U16(file, 62) * SectionSize;
        if (namesAt >= table.Length)
            return default;
        ReadOnlySpan<byte> names = Content(file, table[namesAt..]);
        for (int at = 0; at < table.Length; at += SectionSize)
        {
            if (CString(names, U32(table, at)).SequenceEqual(name))
                return Content(file, table[at..]);
        }
        return default;
    }

    /// <summary>The program interpreter and shared libraries an executable or library asks the dynamic linker for.</summary>
    /// <returns>Null for what is not ELF; an empty list for static programs.</returns>
    public static ElfNeeds? Needs(ReadOnlySpan<byte> file)
    {
        if (!IsElf(file))
            return null;
        var needs = new ElfNeeds();
        if (U16(file, 54) != SegmentSize)
            return needs;
        ReadOnlySpan<byte> segments = Slice(file, U64(file, 32), (ulong)U16(file, 56) * SegmentSize);
        ReadOnlySpan<byte> dynamic = default;
        for (int at = 0; at < segments.Length; at += SegmentSize)
        {
            uint type = U32(segments, at);
            ReadOnlySpan<byte> content = type is PT_DYNAMIC or PT_INTERP ? Slice(file, U64(segments, at + 8), U64(segments, at + 32)) : default;
            if (type == PT_DYNAMIC)
                dynamic = content;
            if (type == PT_INTERP)
                needs.Interpreter = Encoding.UTF8.GetString(CString(content, 0));
        }
        ReadDynamic(file, segments, dynamic, needs);
        return needs;
    }

    private static void ReadDynamic(ReadOnlySpan<byte> file, ReadOnlySpan<byte> segments, ReadOnlySpan<byte> dynamic, ElfNeeds needs)
    {
        ReadOnlySpan<byte> strings = default;
        var wanted = new List<(ulong Tag, ulong At)>();
        for (int at = 0; at + DynamicSize <= dynamic.Length && wanted.Count < MaximumEntries; at += DynamicSize)
        {
            ulong tag = U64(dynamic, at), value = U64(dynamic, at + 8);
            if (tag == DT_NULL)
                break;
            if (tag == DT_STRTAB)
                strings = AtAddress(file, segments, value);
            if (tag is DT_NEEDED or DT_RPATH or DT_RUNPATH)
                wanted.Add((tag, value));
        }
        foreach ((ulong tag, ulong at) in wanted)
        {
            string text = Encoding.UTF8.GetString(CString(strings, at));
            if (text.Length == 0)
                continue;
            if (tag == DT_NEEDED)
                needs.Libraries.Add(text);
            else
                needs.SearchPaths.AddRange(text.Split(':', StringSplitOptions.RemoveEmptyEntries));
        }
    }

    private static ReadOnlySpan<byte> AtAddress(ReadOnlySpan<byte> file, ReadOnlySpan<byte> segments, ulong address)
    {
        for (int at = 0; at < segments.Length; at += SegmentSize)
        {
            ulong start = U64(segments, at + 16), size = U64(segments, at + 32);
            if (U32(segments, at) == PT_LOAD && address - start < size)
                return Slice(file, U64(segments, at + 8), size) is { Length: > 0 } loaded ? loaded[(int)(address - start)..] : default;
        }
        return default;
    }

    private static ReadOnlySpan<byte> Content(ReadOnlySpan<byte> file, ReadOnlySpan<byte> section) => Slice(file, U64(section, 24), U64(section, 32));

    private static ReadOnlySpan<byte> Slice(ReadOnlySpan<byte> bytes, ulong at, ulong length) =>
        at <= (ulong)bytes.Length && length <= (ulong)bytes.Length - at ? bytes.Slice((int)at, (int)length) : default;

    private static ReadOnlySpan<byte> CString(ReadOnlySpan<byte> bytes, ulong at)
    {
        if (at >= (ulong)bytes.Length)
            return default;
        ReadOnlySpan<byte> rest = bytes[(int)at..];
        rest = rest[..Math.Min(rest.Length, MaximumText)];
        int end = rest.IndexOf((byte)0);
        return end < 0 ? default : rest[..end];
    }

    private static ushort U16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    private static ulong U64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt64LittleEndian(bytes[at..]);
}
