using System.Text;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Cli.Tests.Support;

/// <summary>Firmware images of a few instructions: real mode, from the reset vector.</summary>
internal static class Rom
{
    public const int Size = 64 << 10;
    private const ushort Serial = 0x3F8, LineStatus = 0x3FD, PowerManagement = 0x604, ResetControl = 0xCF9, PanicPort = 0x505;
    private const ushort SoftOff = 0x2000 | 5 << 10;

    public static byte[] PowersOff(string says = "") => Make(a =>
    {
        Say(a, says);
        PowerOff(a);
    });

    public static byte[] Resets() => Make(a => Out(a, ResetControl, 6));

    public static byte[] Panics() => Make(a => Out(a, PanicPort, 1));

    public static byte[] Exits(byte value, byte port = 0xF4) => Make(a => Out(a, port, value));

    public static byte[] Hangs(string says = "") => Make(a =>
    {
        Say(a, says);
        a.cli();
        a.hlt();
    });

    public static byte[] Spins() => Make(a =>
    {
        var here = a.CreateLabel();
        a.Label(ref here);
        a.jmp(here);
    });

    /// <summary>An interrupt table without entries.</summary>
    public static byte[] TripleFaults() => Make(a =>
    {
        a.lidt(__[0x600]);
        a.int3();
    });

    /// <summary>Sends back what it receives, until a 'q', at which it powers off.</summary>
    public static byte[] Echoes(string says = "") => Make(a =>
    {
        Say(a, says);
        var loop = a.CreateLabel();
        a.Label(ref loop);
        a.mov(dx, LineStatus);
        a.@in(al, dx);
        a.test(al, 1);
        a.je(loop);
        a.mov(dx, Serial);
        a.@in(al, dx);
        a.@out(dx, al);
        a.cmp(al, (sbyte)'q');
        a.jne(loop);
        PowerOff(a);
    });

    private static byte[] Make(Action<Assembler> code)
    {
        var a = new Assembler(16);
        code(a);
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), 0);
        var rom = new byte[Size];
        stream.ToArray().CopyTo(rom, 0);
        ReadOnlySpan<byte> farJump = [0xEA, 0x00, 0x00, 0x00, 0xF0]; // to F000:0000
        farJump.CopyTo(rom.AsSpan(Size - 16));
        return rom;
    }

    private static void Say(Assembler a, string text)
    {
        if (text.Length > 0) a.mov(dx, Serial);
        foreach (var value in Encoding.ASCII.GetBytes(text))
        {
            a.mov(al, value);
            a.@out(dx, al);
        }
    }

    private static void PowerOff(Assembler a)
    {
        a.mov(dx, PowerManagement);
        a.mov(ax, SoftOff);
        a.@out(dx, ax);
        a.cli();
        a.hlt();
    }

    private static void Out(Assembler a, ushort port, byte value)
    {
        a.mov(al, value);
        a.mov(dx, port);
        a.@out(dx, al);
        a.cli();
        a.hlt();
    }
}
