using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Cli.Tests.Support;

/// <summary>A Multiboot 1 kernel that prints its command line and the strings of its modules, each on a line, and exits with the number of modules.</summary>
internal static class MultibootKernel
{
    private const uint LoadAddress = 0x10_0000, HeaderSize = 32, Magic = 0x1BADB002, AddressFields = 1 << 16;

    public static byte[] Make()
    {
        var a = new Assembler(32);
        Label module = a.CreateLabel(), done = a.CreateLabel(), print = a.CreateLabel(), next = a.CreateLabel(), end = a.CreateLabel();
        a.mov(esp, 0x9_0000);
        a.mov(esi, __[ebx + 16]);
        a.call(print);
        a.mov(ecx, __[ebx + 20]);
        a.mov(edi, __[ebx + 24]);
        a.mov(ebp, ecx);
        a.Label(ref module);
        a.test(ecx, ecx);
        a.je(done);
        a.mov(esi, __[edi + 8]);
        a.call(print);
        a.add(edi, 16);
        a.dec(ecx);
        a.jmp(module);
        a.Label(ref done);
        a.mov(eax, ebp);
        a.@out(0xF4, al);
        a.hlt();
        a.Label(ref print);
        a.mov(edx, 0x3F8);
        a.Label(ref next);
        a.lodsb();
        a.test(al, al);
        a.je(end);
        a.@out(dx, al);
        a.jmp(next);
        a.Label(ref end);
        a.mov(al, (byte)'\n');
        a.@out(dx, al);
        a.ret();
        using var stream = new MemoryStream();
        using var writer = new BinaryWriter(stream);
        foreach (var field in (uint[])[Magic, AddressFields, unchecked(0u - Magic - AddressFields), LoadAddress, LoadAddress, 0, 0, LoadAddress + HeaderSize]) writer.Write(field);
        writer.Flush();
        a.Assemble(new StreamCodeWriter(stream), LoadAddress + HeaderSize);
        return stream.ToArray();
    }
}
