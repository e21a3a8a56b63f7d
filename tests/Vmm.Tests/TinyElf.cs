namespace Vmm.Tests;

/// <summary>An x86-64 ELF file with one segment of code: as good as a kernel to the loader, and as a static program to who only looks at headers.</summary>
internal static class TinyElf
{
    private const ulong Address = 0x100_0000;
    private const int HeaderSize = 64, ProgramHeaderSize = 56;

    public static byte[] Make(params ReadOnlySpan<byte> code)
    {
        using var stream = new MemoryStream();
        using var writer = new BinaryWriter(stream);
        writer.Write([0x7F, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        foreach (var half in (ushort[])[2, 62]) writer.Write(half); // ET_EXEC, EM_X86_64
        writer.Write(1);
        foreach (var word in (ulong[])[Address, HeaderSize, 0]) writer.Write(word);
        writer.Write(0);
        foreach (var half in (ushort[])[HeaderSize, ProgramHeaderSize, 1, 0, 0, 0]) writer.Write(half);
        foreach (var word in (uint[])[1, 5]) writer.Write(word); // PT_LOAD, read and execute
        foreach (var word in (ulong[])[HeaderSize + ProgramHeaderSize, Address, Address, (ulong)code.Length, (ulong)code.Length, 0x1000]) writer.Write(word);
        writer.Write(code);
        writer.Flush();
        return stream.ToArray();
    }
}
