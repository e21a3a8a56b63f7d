namespace Vmm.Core.Tests.Boot;

/// <summary>Makes Multiboot 1 images: ELF with the header in its first segment, or raw with address fields.</summary>
internal static class MultibootFixture
{
    public const int RawHeader = 0x40;

    public static byte[] Elf(uint flags = 3)
    {
        var code = ElfFixture.Pattern(0x1000);
        Header(code, 16, flags);
        return new ElfFixture(is64Bit: false) { Entry = 0x100020 }.Load(0x100000, code, 0x3000).Build();
    }

    /// <summary>Loaded at 2 MiB from 16 bytes into the file.</summary>
    public static byte[] Raw(uint headerAddr = 0x200030, uint load = 0x200000, uint loadEnd = 0, uint bssEnd = 0x204000, uint entry = 0x200080, uint flags = 1 << 16)
    {
        var file = ElfFixture.Pattern(0x1010);
        Header(file, RawHeader, flags);
        uint[] fields = [headerAddr, load, loadEnd, bssEnd, entry];
        for (var i = 0; i < fields.Length; i++) ElfFixture.U32(file, RawHeader + 12 + i * 4, fields[i]);
        return file;
    }

    public static void Header(byte[] file, int at, uint flags)
    {
        ElfFixture.U32(file, at, 0x1BADB002);
        ElfFixture.U32(file, at + 4, flags);
        ElfFixture.U32(file, at + 8, unchecked(0u - 0x1BADB002 - flags));
    }
}
