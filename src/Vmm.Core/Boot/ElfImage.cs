// System V ABI, chapters 4 and 5 (ELF header, program header, note section), and its x86-64 supplement.
using System.Buffers.Binary;

namespace Vmm.Core.Boot;

/// <summary>The loadable part of an ELF file of 32 or 64 bits: entry, segments, notes. Every field is checked against the file.</summary>
internal sealed class ElfImage
{
    public const ushort EmI386 = 3, EmX8664 = 62;
    public const uint PtLoad = 1, PtNote = 4;
    private const int EiClass = 4, EiData = 5, EMachine = 18, MaxSegments = 128;
    private const ushort PnXnum = 0xFFFF, EtExec = 2, EtDyn = 3;

    private ElfImage(BootImage image) => Image = image;

    public BootImage Image { get; }

    public bool Is64Bit { get; private init; }

    public ushort Machine { get; private init; }

    public ulong Entry { get; private set; }

    /// <summary>The loadable segments that have a size, in file order.</summary>
    public List<Segment> Segments { get; } = [];

    private List<Segment> Notes { get; } = [];

    /// <summary>A program header.</summary>
    internal readonly record struct Segment(int Index, ulong Offset, ulong VirtualAddress, ulong PhysicalAddress, ulong FileSize, ulong MemorySize, ulong Align)
    {
        public string Name => $"program header {Index}";
    }

    /// <summary>Whether the bytes claim to be ELF.</summary>
    public static bool IsMatch(ReadOnlySpan<byte> bytes) => bytes.StartsWith("\u007fELF"u8);

    /// <summary>The class (32 or 64) and machine of what claims to be ELF; zeros if it is too short to say.</summary>
    public static (int Bits, ushort Machine) Identify(ReadOnlySpan<byte> bytes) =>
        !IsMatch(bytes) || bytes.Length < EMachine + 2 ? default
        : (bytes[EiClass] == 2 ? 64 : 32, bytes[EiData] == 1 ? BinaryPrimitives.ReadUInt16LittleEndian(bytes[EMachine..]) : BinaryPrimitives.ReadUInt16BigEndian(bytes[EMachine..]));

    /// <summary>Reads and checks the headers.</summary>
    /// <exception cref="Errors.BootImageException">A field is wrong.</exception>
    public static ElfImage Parse(BootImage image)
    {
        if (!IsMatch(image.Bytes.Span)) throw image.Error("offset 0", "the ELF magic is missing; give an ELF vmlinux, not a compressed or wrapped one.");
        var wide = image.U8(EiClass, "e_ident") switch
        {
            1 => false,
            2 => true,
            var c => throw image.Error("e_ident[EI_CLASS] at 4", $"{c} is neither 1 (32 bits) nor 2 (64 bits); the file is damaged, get it again."),
        };
        if (image.U8(EiData, "e_ident") != 1) throw image.Error("e_ident[EI_DATA] at 5", "the file is not little-endian, so it is not for x86; give an x86 kernel.");
        var machine = image.U16(EMachine, "e_machine");
        if (machine is not (EmI386 or EmX8664)) throw image.Error("e_machine at 18", $"{machine} is neither 3 (i386) nor 62 (x86-64); give an x86 kernel.");
        var type = image.U16(16, "e_type");
        if (type is not (EtExec or EtDyn)) throw image.Error("e_type at 16", $"{type} is neither an executable (2) nor a shared object (3); give a linked kernel, not an object file.");

        var elf = new ElfImage(image) { Is64Bit = wide, Machine = machine };
        elf.Entry = elf.Word(24, "e_entry");
        var tableOffset = elf.Word(wide ? 32u : 28u, "e_phoff");
        var entrySize = image.U16(wide ? 54u : 42u, "e_phentsize");
        var count = image.U16(wide ? 56u : 44u, "e_phnum");
        if (count == 0) throw image.Error("e_phnum", "there are no program headers, so there is nothing to load; give a linked kernel, not an object file.");
        if (count == PnXnum) throw image.Error("e_phnum", "more than 65534 program headers are not supported; link the kernel with fewer segments.");
        if (entrySize < (wide ? 56 : 32)) throw image.Error("e_phentsize", $"{entrySize} bytes are too few for a program header; the file is damaged, get it again.");
        // Checks the whole table at once: at most 2^32 bytes, so the product cannot overflow.
        image.Slice(tableOffset, (ulong)entrySize * count, "e_phoff and e_phnum");
        for (var i = 0; i < count; i++) elf.ReadSegment(i, tableOffset + (ulong)i * entrySize);
        return elf;
    }

    /// <summary>Reserves all segments, and plans their bytes and zeros. Problems are noted.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="min">The lowest physical address that a segment may have.</param>
    /// <returns>The first physical address past the highest segment.</returns>
    public ulong PlaceSegments(BootPlan plan, ulong min)
    {
        ulong end = 0;
        foreach (var s in Segments)
        {
            if (s.PhysicalAddress < min) plan.Problem(Image.Name, $"{s.Name}, p_paddr", $"the segment lies at 0x{s.PhysicalAddress:x}, below 0x{min:x}, where this protocol allows none; link the kernel higher.");
            else if (!plan.Memory.TryReserve(s.PhysicalAddress, s.MemorySize, $"{s.Name} of {Image.Name}"))
            {
                plan.Problem(Image.Name, $"{s.Name}, p_paddr", $"the segment 0x{s.PhysicalAddress:x}+0x{s.MemorySize:x} cannot be loaded: {plan.Memory.Obstacle(s.PhysicalAddress, s.MemorySize)}. Give the machine more memory, or link the kernel elsewhere.");
            }
            else
            {
                plan.Write(s.PhysicalAddress, Image.Slice(s.Offset, s.FileSize, s.Name));
                plan.Zero(s.PhysicalAddress + s.FileSize, s.MemorySize - s.FileSize);
                end = Math.Max(end, s.PhysicalAddress + s.MemorySize);
            }
        }

        if (Segments.Count == 0) plan.Problem(Image.Name, "e_phnum", "no program header is PT_LOAD, so there is nothing to load; give a linked kernel.");
        return end;
    }

    /// <summary>The physical address of an entry point that may be given as a physical or a virtual one; null if it is in no segment.</summary>
    public ulong? PhysicalEntry(ulong entry)
    {
        foreach (var s in Segments)
        {
            if (entry >= s.PhysicalAddress && entry - s.PhysicalAddress < s.MemorySize) return entry;
        }

        foreach (var s in Segments)
        {
            if (entry >= s.VirtualAddress && entry - s.VirtualAddress < s.MemorySize) return s.PhysicalAddress + (entry - s.VirtualAddress);
        }

        return null;
    }

    /// <summary>The descriptor of the first note with an owner and type, or null.</summary>
    /// <exception cref="Errors.BootImageException">A note reaches past its segment.</exception>
    public ReadOnlyMemory<byte>? FindNote(ReadOnlySpan<byte> owner, uint type)
    {
        foreach (var s in Notes)
        {
            var notes = new BootImage(Image.Name, Image.Slice(s.Offset, s.FileSize, s.Name));
            var align = s.Align == 8 ? 8UL : 4UL;
            // Each note is at least 12 bytes, so this ends.
            for (ulong at = 0; notes.Holds(at, 12);)
            {
                ulong nameSize = notes.U32(at, s.Name), descSize = notes.U32(at + 4, s.Name);
                var desc = at + 12 + Up(nameSize, align);
                var name = notes.Slice(at + 12, nameSize, $"{s.Name}, note at 0x{at:x}, namesz").Span;
                var bytes = descSize == 0 ? default : notes.Slice(desc, descSize, $"{s.Name}, note at 0x{at:x}, descsz");
                if (notes.U32(at + 8, s.Name) == type && name.TrimEnd((byte)0).SequenceEqual(owner)) return bytes;
                at = desc + Up(descSize, align);
            }
        }

        return null;
    }

    private static ulong Up(ulong value, ulong align) => (value + align - 1) & ~(align - 1);

    private ulong Word(ulong offset, string field) => Is64Bit ? Image.U64(offset, field) : Image.U32(offset, field);

    private void ReadSegment(int index, ulong at)
    {
        var type = Image.U32(at, "p_type");
        if (type is not (PtLoad or PtNote)) return;
        var s = Is64Bit
            ? new Segment(index, Image.U64(at + 8, "p_offset"), Image.U64(at + 16, "p_vaddr"), Image.U64(at + 24, "p_paddr"), Image.U64(at + 32, "p_filesz"), Image.U64(at + 40, "p_memsz"), Image.U64(at + 48, "p_align"))
            : new Segment(index, Image.U32(at + 4, "p_offset"), Image.U32(at + 8, "p_vaddr"), Image.U32(at + 12, "p_paddr"), Image.U32(at + 16, "p_filesz"), Image.U32(at + 20, "p_memsz"), Image.U32(at + 28, "p_align"));
        Image.Slice(s.Offset, s.FileSize, $"{s.Name}, p_offset and p_filesz");
        if (type == PtNote)
        {
            Notes.Add(s);
            return;
        }

        if (s.MemorySize < s.FileSize) throw Image.Error($"{s.Name}, p_memsz", $"0x{s.MemorySize:x} bytes in memory are fewer than the 0x{s.FileSize:x} in the file; the file is damaged, get it again.");
        if (s.MemorySize > (Is64Bit ? ulong.MaxValue : uint.MaxValue) - s.PhysicalAddress) throw Image.Error($"{s.Name}, p_paddr", $"0x{s.PhysicalAddress:x} plus p_memsz 0x{s.MemorySize:x} passes 2^{(Is64Bit ? 64 : 32)}; the file is damaged, get it again.");
        if (s.MemorySize == 0) return;
        if (Segments.Count == MaxSegments) throw Image.Error(s.Name, $"more than {MaxSegments} loadable segments are not supported; link the kernel with fewer.");
        Segments.Add(s);
    }
}
