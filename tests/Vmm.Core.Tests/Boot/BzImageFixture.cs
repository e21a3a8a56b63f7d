using System.Buffers.Binary;
using Vmm.Core.Boot;

namespace Vmm.Core.Tests.Boot;

/// <summary>Makes a bzImage: a setup header as a kernel of protocol 2.15 has it, and code that is a counted pattern.</summary>
internal sealed class BzImageFixture
{
    public BzImageFixture(int codeSize = 0x4000, int setupSects = 3)
    {
        Bytes = new byte[(setupSects + 1) * 512 + codeSize];
        Bytes[LinuxSpec.SetupSects] = (byte)setupSects;
        U32(LinuxSpec.SysSize, (uint)codeSize / 16);
        U16(LinuxSpec.BootFlag, 0xAA55);
        U16(LinuxSpec.Jump, 0x6AEB); // jmp to 0x26c
        U32(LinuxSpec.Header, LinuxSpec.HeaderMagic);
        U16(LinuxSpec.ProtocolVersion, 0x20F);
        Bytes[LinuxSpec.LoadFlags] = 1;
        U32(LinuxSpec.Code32Start, 0x100000);
        U32(LinuxSpec.InitrdAddrMax, 0x7FFFFFFF);
        U32(LinuxSpec.KernelAlignment, 0x200000);
        Bytes[LinuxSpec.RelocatableKernel] = 1;
        Bytes[LinuxSpec.MinAlignment] = 21;
        U16(LinuxSpec.XLoadFlags, 0x3F);
        U32(LinuxSpec.CmdlineSize, 2047);
        U64(LinuxSpec.PrefAddress, 0x1000000);
        U32(LinuxSpec.InitSize, 0x800000);
        CodeOffset = (setupSects + 1) * 512;
        for (var i = CodeOffset; i < Bytes.Length; i++) Bytes[i] = (byte)(i * 7 + 1);
    }

    public byte[] Bytes { get; private set; }

    public int CodeOffset { get; }

    public ReadOnlySpan<byte> Code => Bytes.AsSpan(CodeOffset);

    public BzImageFixture U8(int offset, byte value)
    {
        Bytes[offset] = value;
        return this;
    }

    public BzImageFixture U16(int offset, ushort value)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(Bytes.AsSpan(offset), value);
        return this;
    }

    public BzImageFixture U32(int offset, uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(Bytes.AsSpan(offset), value);
        return this;
    }

    public BzImageFixture U64(int offset, ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(Bytes.AsSpan(offset), value);
        return this;
    }

    public BzImageFixture Cut(int length)
    {
        Bytes = Bytes[..length];
        return this;
    }
}
